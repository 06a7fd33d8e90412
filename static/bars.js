// What a model says of each class: bars for the picture that is shown, lines for the clean image.
import { percent } from "./sentences.js";

function part(className, holder, text = "") {
  return holder.appendChild(Object.assign(document.createElement("span"), { className, textContent: text }));
}

/** One class: its row, and what moves it. */
function classRow(name, was, end, target) {
  const row = document.createElement("li");
  const holder = row.appendChild(document.createElement(target ? "button" : "div"));
  part("name", holder, name);
  const track = part("track", holder);
  part("was", track).style.width = `${(100 * was) / end}%`;
  const now = part("now", track);
  const value = part("value", holder);
  if (target) {
    Object.assign(holder, { type: "button", title: `Attack towards “${name}”` });
    holder.addEventListener("click", () => target(name));
  }
  return { row, show: (share) => {
    now.style.width = `${(100 * share) / end}%`;
    value.textContent = percent(share);
  } };
}

/**
 * Fill a model's list of classes; its axis ends at the next tenth above what the model ever says.
 * Returns what shows other probabilities. `target`: called with a class that is clicked; without it
 * classes are no buttons.
 */
export function layBars(column, result, model, target) {
  const clean = result.clean[model].probabilities;
  const all = [clean, ...result.attacks.flatMap((one) => one.looks[model].probabilities)];
  const end = Math.ceil(10 * all.reduce((most, row) => Math.max(most, ...row), 0)) / 10;
  column.querySelector("[data-axis]").textContent = `${Math.round(100 * end)}\u00a0%`;
  const rows = result.shown.map((k, i) => classRow(result.classes[k], clean[i], end, target));
  rows.forEach(({ row }, i) => row.classList.toggle("true", result.classes[result.shown[i]] === result.label));
  column.querySelector(".bars").replaceChildren(...rows.map(({ row }) => row));
  return (probabilities) => rows.forEach(({ show }, i) => show(probabilities[i]));
}
