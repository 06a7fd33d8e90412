// What a model says of each class: bars for the picture that is shown, lines for the clean image.
import { percent } from "./sentences.js";

function part(className, holder, text = "") {
  return holder.appendChild(Object.assign(document.createElement("span"), { className, textContent: text }));
}

/** One class: its row, and what moves it. */
function classRow(name, was, end, { target, aimed, own }) {
  const row = document.createElement("li");
  const holder = row.appendChild(document.createElement(target ? "button" : "div"));
  part("name", holder, name);
  const track = part("track", holder);
  part("was", track).style.width = `${(100 * was) / end}%`;
  const now = part("now", track);
  const value = part("value", holder);
  if (target) {
    const title = own ? "The true class: an attack leads away from it" : `${aimed ? "No longer attack" : "Attack"} towards “${name}”`;
    Object.assign(holder, { type: "button", title, disabled: own });
    holder.setAttribute("aria-pressed", String(aimed));
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
 * classes are no buttons. The true class is no target, and that of this attack is marked.
 */
export function layBars(column, result, model, target) {
  const clean = result.clean[model].probabilities;
  const all = [clean, ...result.attacks.flatMap((one) => one.looks[model].probabilities)];
  const end = Math.ceil(10 * all.reduce((most, row) => Math.max(most, ...row), 0)) / 10;
  column.querySelector("[data-axis]").textContent = `${Math.round(100 * end)}\u00a0%`;
  const rows = result.shown.map((k, i) => {
    const name = result.classes[k];
    return classRow(name, clean[i], end, { target, aimed: name === result.params.attack.target_class, own: name === result.label });
  });
  rows.forEach(({ row }, i) => row.classList.toggle("true", result.classes[result.shown[i]] === result.label));
  column.querySelector(".bars").replaceChildren(...rows.map(({ row }) => row));
  return (probabilities) => rows.forEach(({ show }, i) => show(probabilities[i]));
}
