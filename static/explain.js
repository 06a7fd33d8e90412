// Shows the result of a live attack; its sliders need nothing from the server.
//
//   show(element, result, {start, target, archive, first, job, order})
//
// `element`: the section of templates/_viewer.html; `result`: an ExplainResult. The others may be
// left out. `start`: where to begin, {row, column, map, on, picture, tab}. `target`: called with the name of a class
// that was clicked; without it classes are no buttons. `archive`: address of a ZIP that reproduces it.
// `order`: ids of models; of those of one recipe the first has its colour.
// `first`: whether the result is the first part of one, of budget 0 and one other. Whenever the view
// moves, the element sends a "moved" event whose detail is like `start`, with the `result` that is
// shown and the `job` that was named with it.
import { showArena } from "./arena.js";
import { layBars } from "./bars.js";
import { diverging, magma } from "./colours.js";
import { answer, budget, callings, movement, NO_MAP, sentence } from "./sentences.js";
import { layDownloads } from "./saving.js";
import { drawScale, maps, pictures } from "./sheets.js";

const SHOWN_MS = 160;
const shows = new WeakMap();

/** Style sheet names of the models' colours, as app/web/charts/palette.py gives them to other pages; `known`: by recipe, `order`: ids, who chooses first. */
export function identities(models, known, order) {
  const chosen = new Map();
  const free = (name) => name && ![...chosen.values()].includes(name);
  const sorted = models.toSorted((one, other) => (one.id < other.id ? -1 : 1));
  const place = ({ id }) => (order.includes(id) ? order.indexOf(id) : order.length);
  for (const { id, recipe } of sorted.toSorted((one, other) => place(one) - place(other))) if (free(known[recipe])) chosen.set(id, known[recipe]);
  const others = Object.values(known).filter((name) => name.startsWith("hue-"));
  for (const { id } of sorted) {
    if (chosen.has(id)) continue;
    const start = parseInt(id.slice(0, 8), 16) % others.length;
    chosen.set(id, [...others.slice(start), ...others.slice(0, start), "student", "teacher"].find(free));
  }
  return models.map(({ id }) => chosen.get(id));
}

class Viewer {
  constructor(root) {
    this.root = root;
    this.part = (selector) => root.querySelector(selector);
    this.sliders = { budget: this.part("[data-slider=budget]"), iterate: this.part("[data-slider=iterate]") };
    this.choices = { map: this.part("[data-map]"), on: this.part("[data-on]"), picture: this.part("[data-picture]") };
    for (const slider of Object.values(this.sliders)) {
      slider.addEventListener("input", () => this.draw());
      slider.addEventListener("change", () => this.settled());
    }
    for (const choice of Object.values(this.choices)) choice.addEventListener("change", () => this.chosen());
    this.part("[data-opacity]").addEventListener("input", (event) => root.style.setProperty("--overlay", event.target.value / 100));
    for (const button of root.querySelectorAll("[data-play]")) button.addEventListener("click", () => this.play(button));
    this.tabs = [...root.querySelectorAll("[role=tab]")];
    for (const tab of this.tabs) {
      tab.addEventListener("click", () => this.choose(tab));
      tab.addEventListener("keydown", (event) => {
        if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
        const other = this.tabs.find((one) => one !== tab);
        this.choose(other);
        other.focus();
      });
    }
  }

  write(name, text) {
    this.part(`[data-text=${name}]`).textContent = text;
  }

  get tab() {
    return this.tabs.find((one) => one.getAttribute("aria-selected") === "true").dataset.tab;
  }

  /** A tab that its user, or an address, chose. */
  choose(tab) {
    if (tab.disabled) return;
    this.open(tab);
    this.settled();
  }

  open(tab) {
    for (const one of this.tabs) {
      one.setAttribute("aria-selected", String(one === tab));
      one.tabIndex = one === tab ? 0 : -1;
      this.part(`[data-panel-of=${one.dataset.tab}]`).hidden = one !== tab;
    }
    const arena = this.part(".arena");
    if (!arena.hidden) arena.follow(this.moment.row);
  }

  /** Take another result; the present one stays until it is decoded, unless a later one comes before. */
  async take(result, options) {
    if (options.first && !this.part(".arena").hidden) return; // which is of all budgets
    this.coming = result;
    const range = result.params.attack.norm === "linf" ? 255 * result.budgets.at(-1) : 255 * Math.max(1 / 255, ...result.attacks.flatMap((one) => one.levels.map((level) => level.max_change)));
    const sheets = await Promise.all(result.attacks.map((one) => pictures(result.clean_png, one.changes_png, result.image_size, range)));
    const looks = await Promise.all(result.attacks.map((one) => Promise.all(one.looks.map(async (look) => ({
      attention: await maps(look.attention.sheet),
      grad_cam: await maps(look.grad_cam.sheet),
      stages: await Promise.all(look.stages.map(maps)),
    })))));
    if (this.coming !== result) return;
    this.stop();
    Object.assign(this, { result, options, sheets, looks, range, names: identities(result.models, JSON.parse(this.root.dataset.identities), options.order ?? []) });
    this.lay();
    this.begin(options.start ?? {});
    this.root.hidden = false;
    this.chosen();
  }

  /** Everything that does not move. */
  lay() {
    const { result, choices, options: { first = false } } = this;
    this.root.toggleAttribute("data-first", first);
    // The first picture stands in the middle, where it will be among the others.
    this.sliders.budget.max = first ? 2 : result.budgets.length - 1;
    this.sliders.iterate.max = Math.max(1, result.iterates.length - 1);
    for (const control of [this.sliders.budget, this.part("[data-play=budget]"), this.part("[data-tab=arena]")]) control.disabled = first;
    this.part("[data-crafted]").hidden = result.models.length === 1;
    choices.on.replaceChildren(new Option("each model itself", ""), ...result.models.map((model, i) => new Option(model.name, i)));
    const stages = this.looks[0][0].stages.length;
    for (const old of choices.map.querySelectorAll("[value^=stage]")) old.remove();
    for (let i = 0; i < stages - 1; i += 1) choices.map.add(new Option(`Stage ${i + 1} of ${stages}`, `stage-${i}`));
    this.write("truth", result.label === null ? "no true class given" : `true class: ${result.label}`);
    this.write("attack", `${result.attack}, on each model by itself. Computed in ${result.environment.seconds.toFixed(2)} s on ${result.environment.device}.`);
    this.sheets[0].shown.draw(this.part(".clean canvas"), 0, 0, false);
    for (const old of this.root.querySelectorAll(".of-model")) old.remove();
    const template = this.part("template");
    this.columns = result.models.map((model, i) => {
      const column = template.content.firstElementChild.cloneNode(true);
      column.querySelector("h2").textContent = model.name;
      column.querySelector("h2").classList.add(this.names[i]);
      column.classList.add(`is-${this.names[i]}`);
      if (i === 0 && result.models.length > 1) column.querySelector("h2").title = "Other maps are compared with this model's.";
      const smoothed = column.querySelector(".smoothed");
      smoothed.hidden = !(model.label_smoothing > 0);
      smoothed.textContent = `Its training spread ${Math.round(100 * model.label_smoothing)}\u00a0% of each label over the other classes: low confidence is its design.`;
      column.bars = layBars(column, result, i, this.options.target);
      return column;
    });
    this.part(".of-models").append(...this.columns);
    layDownloads(this);
    if (!first) showArena(this.part(".arena"), result, this.names);
  }

  begin({ row, column, map, on, picture, tab }) {
    const { result, sliders, choices } = this;
    sliders.budget.value = row ?? Math.floor(sliders.budget.max / 2);
    sliders.iterate.value = column ?? sliders.iterate.max;
    if ([...choices.map.options].some((one) => one.value === map)) choices.map.value = map;
    if (picture) choices.picture.value = picture;
    const opened = this.tabs.find((one) => one.dataset.tab === tab);
    if (opened && !opened.disabled) this.open(opened);
    choices.on.value = on !== null && on < result.models.length ? String(on) : "";
  }

  get moment() {
    const on = this.choices.on.value;
    return {
      row: Number(this.sliders.budget.value),
      column: Math.min(Number(this.sliders.iterate.value), this.result.iterates.length - 1),
      map: this.choices.map.value,
      on: on === "" ? null : Number(on),
      picture: this.choices.picture.value,
      tab: this.tab,
    };
  }

  /** A choice changed what sliders and legend mean. */
  chosen() {
    const { map, on } = this.moment;
    const stage = map.startsWith("stage");
    for (const option of this.choices.map.querySelectorAll("[value^=stage]")) option.disabled = on !== null;
    if (stage && on !== null) this.choices.map.value = "attention";
    // Transfers and stages are of the last iterate alone.
    const still = on !== null || stage || this.result.iterates.length === 1;
    this.sliders.iterate.disabled = still;
    this.part("[data-play=iterate]").disabled = still;
    if (still) this.sliders.iterate.value = this.sliders.iterate.max;
    this.draw();
    this.drawLegend();
    this.settled();
  }

  drawLegend() {
    const shift = this.moment.map === "shift";
    drawScale(this.part(".legend canvas"), shift ? (share) => diverging(2 * share - 1) : magma);
    this.write("low", shift ? "less" : "low");
    this.write("high", shift ? "more" : "high");
  }

  /** Where a model's look at the present pictures is: its place among all, and in its sheets. */
  seen(model) {
    const { row, column, on } = this.moment;
    const by = on ?? model;
    const own = by === model;
    const columns = own ? this.result.iterates.length : 1;
    const at = own ? column : 0;
    return { by, row, column: at, place: row * columns + at, look: this.result.attacks[by].looks[model] };
  }

  draw() {
    const { result, moment } = this;
    const epsilon = budget(result, result.budgets[moment.row]);
    this.write("budget", epsilon);
    this.sliders.budget.setAttribute("aria-valuetext", epsilon);
    const steps = `${result.iterates[moment.column]} of ${result.iterates.at(-1)}`;
    this.write("iterate", steps);
    this.sliders.iterate.setAttribute("aria-valuetext", steps);
    this.columns.forEach((column, model) => this.drawModel(column, model));
    this.write("sentence", this.sentence());
    this.write("amplified", this.choices.picture.value === "changes" ? `The change alone is drawn ×${Number((127 / this.range).toPrecision(3))}, grey where there is none.` : "");
    const arena = this.part(".arena");
    if (!arena.hidden) arena.follow(moment.row);
  }

  sentence() {
    return sentence(this.result, this.moment, this.result.models.map((_, i) => {
      const { look, place } = this.seen(i);
      return look.top[place];
    }));
  }

  drawModel(column, model) {
    const { result, moment } = this;
    const { by, row, column: at, place, look } = this.seen(model);
    const tile = (name) => [...column.querySelectorAll(`[data-tile=${name}] canvas`)];
    const [picture] = tile("picture");
    this.sheets[by][this.choices.picture.value].draw(picture, row, moment.column, false);
    const change = this.sheets[by].change(row, moment.column);
    column.querySelector("[data-size]").textContent = row === 0 ? "none" : `±${change.most}/255, L2 ${change.length.toFixed(2)}`;
    picture.setAttribute("aria-label", row === 0 ? "The clean image" : `The image crafted on ${result.models[by].name}`);
    const [under, map] = tile("clean");
    this.sheets[by].shown.draw(under, 0, 0, false);
    const [below, now] = tile("now");
    this.sheets[by].shown.draw(below, row, moment.column, false);
    column.querySelector("[data-tile=now] figcaption").textContent = this.drawMaps(this.looks[by][model], map, now, row, at);
    for (const [canvas, of] of [[map, "clean"], [now, "adversarial"]]) canvas.setAttribute("aria-label", `Where ${result.models[model].name} looks, ${of} image`);
    this.drawAnswers(column, model, look, place);
  }

  /** Draws both maps, and says what the second one is. */
  drawMaps(sheets, clean, now, row, column) {
    const { map } = this.moment;
    if (map.startsWith("stage")) {
      const stage = sheets.stages[Number(map.slice(6))].coloured;
      stage.draw(clean, 0, 0, true);
      stage.draw(now, row, 0, true);
      return "Map, adversarial";
    }
    const kind = map === "shift" ? sheets.attention : sheets[map];
    kind.coloured.draw(clean, 0, 0, true);
    (map === "shift" ? kind.shift : kind.coloured).draw(now, row, column, true);
    return map === "shift" ? `Shift, ±${kind.range.toFixed(2)}` : "Map, adversarial";
  }

  drawAnswers(column, model, look, place) {
    const { result } = this;
    const clean = result.clean[model];
    for (const [name, top, confidence] of [["clean", clean.top, clean.confidence], ["now", look.top[place], look.confidence[place]]]) {
      const { text, mark } = answer(result, top, confidence);
      const target = column.querySelector(`[data-says=${name}]`);
      target.textContent = text;
      target.className = mark;
    }
    column.bars(look.probabilities[place]);
    const figures = this.moment.map === "grad_cam" ? look.grad_cam : look.attention;
    const noise = this.moment.map === "grad_cam" ? clean.grad_cam_noise : clean.attention_noise;
    const changed = look.top[place] !== clean.top;
    const { row } = this.moment;
    const says = figures.sheet.height * figures.sheet.width === 1 ? NO_MAP : row === 0 ? "" : movement(changed, figures.shift.l1[place], noise.l1[row], figures.shift.overlap[place]);
    column.querySelector(".moved").textContent = says;
  }

  /** The view came to rest: say so to those who listen, and to who hears the page. */
  settled() {
    const [place, told] = [this.part("[data-announce]"), this.sentence()];
    if (place.textContent !== told) place.textContent = told;
    this.root.dispatchEvent(new CustomEvent("moved", { detail: { ...this.moment, result: this.result, job: this.options.job } }));
  }

  play(button) {
    const running = this.playing?.button === button;
    this.stop();
    if (running) return;
    const slider = this.sliders[button.dataset.play];
    if (slider.value === slider.max) slider.value = 0;
    button.textContent = "❚❚";
    button.setAttribute("aria-pressed", "true");
    this.draw();
    const timer = setInterval(() => {
      slider.value = Number(slider.value) + 1;
      this.draw();
      if (slider.value === slider.max) this.stop();
    }, SHOWN_MS);
    this.playing = { button, timer };
  }

  stop() {
    if (!this.playing) return;
    const { button, timer } = this.playing;
    clearInterval(timer);
    button.textContent = "▶";
    button.setAttribute("aria-pressed", "false");
    this.playing = null;
    this.settled();
  }
}

/** Show a result; resolves when it is drawn. */
export async function show(element, result, options = {}) {
  if (!shows.has(element)) shows.set(element, new Viewer(element));
  await shows.get(element).take(result, options);
}
