// The first page: a picture of the showcase under attack, then the charts, which may come later.
import { answer, budget, sentence } from "./sentences.js";
import { maps, pictures } from "./sheets.js";

const view = document.getElementById("showcase");
const slider = view?.querySelector("[data-slider]");
const known = new Map();
let shown = null;

/** A picture's results in the shape of a live attack's, with what is drawn decoded. */
async function fetched(address) {
  const answered = await fetch(address);
  if (!answered.ok) throw new Error(`${address} answered ${answered.status}`);
  const left = await answered.json();
  const result = {
    ...left,
    label: left.picture.label,
    iterates: [left.params.attack.steps],
    clean: left.views.map((seen) => ({ top: seen.top[0], confidence: seen.confidence[0] })),
  };
  const decoded = left.views.map(async (seen) => ({
    seen,
    pictures: (await pictures(left.clean_png, seen.changes_png, left.image_size, 1)).shown,
    attention: (await maps(seen.attention)).coloured,
  }));
  return { result, models: await Promise.all(decoded) };
}

function write(name, text) {
  view.querySelector(`[data-text="${name}"]`).textContent = text;
}

/** One model's picture, map and answer, in the place of one state. */
function showFigure(figure, row) {
  const { result, models } = shown;
  const { seen, pictures: tiles, attention } = models[figure.dataset.model];
  for (const canvas of figure.querySelectorAll(".picture")) tiles.draw(canvas, row, 0, false);
  attention.draw(figure.querySelector(".map"), row, 0, true);
  const said = answer(result, seen.top[row], seen.confidence[row]);
  const place = figure.querySelector("[data-says]");
  place.textContent = said.text;
  place.dataset.says = said.mark;
}

function showBudget() {
  const { result, models } = shown;
  const row = Number(slider.value);
  const words = sentence(result, { row, column: 0, on: null }, models.map(({ seen }) => seen.top[row]));
  write("budget", budget(result, result.budgets[row]));
  write("sentence", words);
  slider.setAttribute("aria-valuetext", words);
  for (const figure of view.querySelectorAll('[data-state="attacked"]')) showFigure(figure, row);
}

async function showPicture(choice) {
  if (!known.has(choice.value)) known.set(choice.value, fetched(choice.dataset.results));
  const found = await known.get(choice.value);
  if (!choice.checked) return; // another one was chosen meanwhile
  shown = found;
  for (const figure of view.querySelectorAll('[data-state="clean"]')) showFigure(figure, 0);
  showBudget();
  for (const credit of view.querySelectorAll("[data-credit]")) credit.hidden = credit.dataset.credit !== choice.value;
  performance.mark("drawn");
  view.dataset.drawn = choice.value;
}

function attempt(choice) {
  return showPicture(choice).catch(() => {
    known.delete(choice.value);
    write("sentence", "What the attacks left cannot be fetched. Choose the picture again.");
  });
}

function loaded(address) {
  return new Promise((resolve, reject) => {
    document.head.append(Object.assign(document.createElement("script"), { src: address, onload: resolve, onerror: reject }));
  });
}

if (view) {
  slider.value = view.dataset.at;
  slider.addEventListener("input", () => shown && showBudget());
  for (const choice of view.querySelectorAll("[name=picture]")) choice.addEventListener("change", () => attempt(choice));
  await attempt(view.querySelector("[name=picture]:checked"));
}
if (document.querySelector("figure[data-chart]")) {
  await loaded("/static/vendor/plotly-cartesian.min.js");
  await import("./charts.js");
}
