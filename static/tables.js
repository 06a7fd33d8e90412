// Tables of many things: addresses without empty fields, choosing all rows, and how many are chosen.

const chosenIn = (form) => [...form.querySelectorAll("tbody .pick input")];

function count(form) {
  const boxes = chosenIn(form);
  const ticked = boxes.filter((box) => box.checked).length;
  const all = form.querySelector("[data-all]");
  all.checked = ticked > 0 && ticked === boxes.length;
  all.indeterminate = ticked > 0 && ticked < boxes.length;
  const bar = form.querySelector("[data-selection]");
  bar.hidden = ticked === 0;
  bar.querySelector("[data-chosen]").textContent = `${ticked} chosen`;
  lock(bar, boxes.filter((box) => box.checked));
}

// What belongs to others may be compared: the buttons that would change it are locked, and say why.
function lock(bar, chosen) {
  const others = chosen.filter((box) => box.dataset.why);
  const reasons = new Set(others.map((box) => box.dataset.why));
  const count = others.length === chosen.length ? "" : `${others.length} of them cannot be changed. `;
  const said = others.length ? `${count}${[...reasons].join(" ")}` : "";
  const note = bar.querySelector("[data-locked]");
  if (note.textContent !== said) note.textContent = said;
  note.hidden = !said;
  for (const button of bar.querySelectorAll("button[name=action]")) {
    button.disabled = Boolean(said);
    button.title = said;
  }
}

function countAll() {
  for (const form of document.querySelectorAll("form[data-rows]")) count(form);
}

document.addEventListener("change", (event) => {
  const form = event.target.closest("form[data-rows]");
  if (!form) return;
  if (event.target.matches("[data-all]"))
    for (const box of chosenIn(form)) box.checked = event.target.checked;
  count(form);
});

// Every change is shown at once, so the button says nothing new.
for (const button of document.querySelectorAll("[data-narrow] [data-apply]")) button.hidden = true;

// A field that is empty, and columns that are as usual, say nothing.
const usual = (form) => [...form.querySelectorAll("[name=col]")]
  .every((box) => box.checked === box.defaultChecked);
document.addEventListener("htmx:configRequest", (event) => {
  const form = event.target.closest?.("[data-narrow]");
  if (!form) return;
  const columns = new URLSearchParams(location.search).has("col") || !usual(form);
  for (const [name, value] of Object.entries(event.detail.parameters))
    if (value === "" || (name === "col" && !columns)) delete event.detail.parameters[name];
});

document.addEventListener("htmx:afterSettle", countAll);
countAll();

// A form whose answer is a page of its own shows each choice at once, too.
for (const form of document.querySelectorAll("form[data-at-once]")) {
  form.querySelector("[data-apply]").hidden = true;
  form.addEventListener("change", () => form.requestSubmit());
}
