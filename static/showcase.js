// A picture of the showcase under attack, in the parts of templates/_showcase.html.
import { answer, budget, sentence } from "./sentences.js";
import { maps, pictures } from "./sheets.js";

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

export class Showcase {
  constructor(view) {
    this.view = view;
    this.slider = view.querySelector("[data-slider]");
    this.known = new Map();
    this.slider.value = this.slider.dataset.at;
    this.slider.addEventListener("input", () => this.shown && this.showBudget());
  }

  write(name, text) {
    this.view.querySelector(`[data-text="${name}"]`).textContent = text;
  }

  /** Show what the attacks on a picture left at an address; false if another one was asked for meanwhile. */
  async show(address) {
    this.wanted = address;
    if (!this.known.has(address)) this.known.set(address, fetched(address));
    try {
      const found = await this.known.get(address);
      if (this.wanted !== address) return false;
      this.shown = found;
      for (const figure of this.view.querySelectorAll('[data-state="clean"]')) this.showFigure(figure, 0);
      this.showBudget();
      return true;
    } catch {
      this.known.delete(address);
      this.write("sentence", "What the attacks left cannot be fetched. Choose the picture again.");
      return false;
    }
  }

  /** One model's picture, map and answer, in the place of one state. */
  showFigure(figure, row) {
    const { result, models } = this.shown;
    const { seen, pictures: tiles, attention } = models[figure.dataset.model];
    for (const canvas of figure.querySelectorAll(".picture")) tiles.draw(canvas, row, 0, false);
    attention.draw(figure.querySelector(".map"), row, 0, true);
    const said = answer(result, seen.top[row], seen.confidence[row]);
    const place = figure.querySelector("[data-says]");
    place.textContent = said.text;
    place.dataset.says = said.mark;
  }

  showBudget() {
    const { result, models } = this.shown;
    const row = Number(this.slider.value);
    const words = sentence(result, { row, column: 0, on: null }, models.map(({ seen }) => seen.top[row]));
    this.write("budget", budget(result, result.budgets[row]));
    this.write("sentence", words);
    this.slider.setAttribute("aria-valuetext", words);
    for (const figure of this.view.querySelectorAll('[data-state="attacked"]')) this.showFigure(figure, row);
  }
}
