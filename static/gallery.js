// The images of an evaluation: their attention maps, and the choice of what is shown.
import { drawMap } from "./attention.js";

/** So many come first; the others on request. */
const FIRST = 6;

for (const canvas of document.querySelectorAll("canvas[data-grid]")) drawMap(canvas, JSON.parse(canvas.dataset.grid));

/** The address says what is chosen; a report has none of its own. */
function remember(form) {
  if (!location.protocol.startsWith("http")) return;
  const facts = new URLSearchParams(location.search);
  for (const [name, value] of new FormData(form)) value ? facts.set(name, value) : facts.delete(name);
  history.replaceState(null, "", `${location.pathname}${facts.size ? `?${facts}` : ""}${location.hash}`);
}

/** Offer what leads to pictures beside what else is chosen; what is chosen stays. */
function offer(form, pictures, chosen) {
  for (const { name, options } of form.elements) {
    const others = chosen.filter(([other]) => other !== name);
    const beside = pictures.filter(({ dataset }) => others.every(([other, value]) => dataset[other] === value));
    for (const one of options) one.disabled = one.value && !one.selected && !beside.some(({ dataset }) => dataset[name] === one.value);
  }
}

for (const form of document.querySelectorAll("form[data-gallery]")) {
  const pictures = [...document.getElementById(form.dataset.gallery).children];
  const more = document.querySelector(`[data-more="${form.dataset.gallery}"]`);
  let all = false;
  const facts = new URLSearchParams(location.search);
  for (const { name, options } of form.elements) for (const one of options) if (facts.get(name) === one.value) one.selected = true;
  const show = () => {
    const chosen = [...new FormData(form)].filter(([, value]) => value);
    const fitting = pictures.filter((one) => chosen.every(([name, value]) => one.dataset[name] === value));
    const shown = new Set(all ? fitting : fitting.slice(0, FIRST));
    for (const one of pictures) one.hidden = !shown.has(one);
    offer(form, pictures, chosen);
    more.hidden = shown.size === fitting.length;
    more.textContent = `Show the other ${fitting.length - shown.size}`;
    form.querySelector("[data-count]").textContent = fitting.length
      ? `${shown.size} of ${pictures.length}` : "None of those kept is so: choose another class or kind.";
  };
  form.hidden = false;
  form.addEventListener("change", () => { show(); remember(form); });
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => { all = true; show(); form.querySelector("select").focus(); });
  window.addEventListener("pageshow", show);
  window.addEventListener("beforeprint", () => { all = true; show(); });
  show();
}
