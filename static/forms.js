// Hides the fields that mean nothing for what is chosen elsewhere in the form.
// A hidden field is disabled too: it is not sent, and its default holds.

function values(form, name) {
  const controls = [...form.querySelectorAll(`[name="${CSS.escape(name)}"]:not([type="hidden"])`)];
  const chosen = controls.filter((one) => !["radio", "checkbox"].includes(one.type) || one.checked);
  return chosen.filter((one) => !one.closest(".field")?.hidden).map((one) => one.value);
}

// Where nothing is said of values, anything is chosen that is not empty.
function isChosen(form, name, among) {
  return values(form, name).some((one) => (among === undefined ? one !== "" : among.split(" ").includes(one)));
}

function isMeant(form, { dataset: { when, is, orWhen, orIs, andWhen, andIs, andNone } }) {
  const met = isChosen(form, when, is) || (orWhen !== undefined && isChosen(form, orWhen, orIs));
  return met && (andWhen === undefined || isChosen(form, andWhen, andIs) === (andNone === undefined));
}

function isRequired(form, { dataset: { requiredWhen, requiredIs, requiredOrWhen, requiredOrIs } }) {
  return isChosen(form, requiredWhen, requiredIs) || (requiredOrWhen !== undefined && isChosen(form, requiredOrWhen, requiredOrIs));
}

function update(form) {
  for (const field of form.querySelectorAll(".field[data-when]")) {
    const meant = isMeant(form, field);
    field.hidden = !meant;
    for (const control of field.querySelectorAll("input, select, fieldset")) control.disabled = !meant;
  }
  for (const field of form.querySelectorAll("[data-required-when]")) {
    for (const control of field.querySelectorAll("select, input:not([type=search])")) control.required = isRequired(form, field);
  }
  // A choice that does not fit what is chosen elsewhere. One that is made already stays in sight.
  for (const choice of form.querySelectorAll("li[data-when]")) {
    const control = choice.querySelector("input");
    const kept = isMeant(form, choice) || (control.type === "radio" && control.checked);
    choice.hidden = !kept;
    if (!choice.closest(".field").hidden) control.disabled = !kept;
  }
  for (const group of form.querySelectorAll("details")) {
    const fields = [...group.querySelectorAll(".field")];
    group.hidden = fields.length > 0 && fields.every((field) => field.hidden);
    const shown = fields.filter((field) => !field.hidden);
    const names = shown.map((field) => field.querySelector("legend, label").textContent.trim());
    const summary = group.querySelector(":scope > summary small:not([id])");
    if (summary) summary.textContent = names.join(", ");
  }
}

// A default that is decided elsewhere in the form follows what is chosen there, until something else is typed.
function defaultOf(form, control) {
  return JSON.parse(control.dataset.defaults)[values(form, control.dataset.defaultBy)[0]];
}

function lookForTyped(form) {
  for (const control of form.querySelectorAll("[data-default-by]")) {
    control.toggleAttribute("data-typed", !["", defaultOf(form, control)].includes(control.value));
  }
}

function follow(form) {
  for (const control of form.querySelectorAll("[data-default-by]:not([data-typed])")) control.value = defaultOf(form, control) ?? control.value;
}

for (const form of document.querySelectorAll("form")) {
  if (!form.querySelector("[data-when]")) continue;
  form.addEventListener("input", ({ target }) => target.toggleAttribute("data-typed", target.value !== ""));
  form.addEventListener("change", () => { follow(form); update(form); });
  window.addEventListener("pageshow", () => { lookForTyped(form); update(form); });
  lookForTyped(form);
  update(form);
}

// A preset fills its fields on the spot, and leaves the others as they are.
for (const link of document.querySelectorAll("a[data-preset]")) {
  const form = document.querySelector("form.params");
  link.addEventListener("click", (event) => {
    event.preventDefault();
    const wanted = new URLSearchParams(link.search);
    for (const name of link.dataset.preset.split(" ")) {
      for (const control of form.querySelectorAll(`[name="${CSS.escape(name)}"]:not([type="hidden"])`)) {
        if (["radio", "checkbox"].includes(control.type)) control.checked = wanted.getAll(name).includes(control.value);
        else control.value = wanted.get(name);
        control.removeAttribute("data-typed");
      }
    }
    for (const other of document.querySelectorAll("a[data-preset]")) other.removeAttribute("aria-current");
    link.setAttribute("aria-current", "true");
    form.dispatchEvent(new Event("change"));
  });
}

// A search looks by itself; Enter in it sends nothing.
document.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.matches("form [type=search]")) event.preventDefault();
});

// What the browser itself finds wrong must be in sight for it to say so.
document.addEventListener("invalid", (event) => {
  for (const fold of document.querySelectorAll("details")) fold.open ||= fold.contains(event.target);
}, true);

// What is wrong is brought into view, and the keyboard starts there.
document.querySelector("[aria-invalid=true]")?.focus();
