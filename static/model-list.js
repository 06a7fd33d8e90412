// The models of a live attack: the first is the one that the others are compared with.
import { at } from "./address.js";

/** A list of models to choose, as many as are attacked; `settings` has all that the page knows. */
export class ModelList {
  constructor(settings, changed) {
    Object.assign(this, { settings, changed });
    this.list = document.getElementById("model-list");
    this.more = document.getElementById("add-model");
    this.more.addEventListener("click", () => this.addAnother());
    document.getElementById("model-search")?.addEventListener("input", (event) => this.search(event.target));
  }

  /** Ids of the chosen ones. */
  get ids() {
    return [...this.list.querySelectorAll("select")].map((select) => select.value);
  }

  get first() {
    return this.settings.models.find(({ id }) => id === this.ids[0]);
  }

  get classesNumber() {
    return this.first?.classes;
  }

  /** What the first model knows. */
  get classes() {
    return this.settings.classes[this.classesNumber] ?? [];
  }

  knows(ids) {
    return ids.every((id) => this.settings.models.some((model) => model.id === id));
  }

  begin(ids) {
    for (const id of ids) this.add(id);
    this.name();
  }

  fill(select, chosen) {
    const groups = Map.groupBy(this.settings.models, (model) => model.group);
    select.replaceChildren(...[...groups].map(([label, models]) => {
      const group = Object.assign(document.createElement("optgroup"), { label });
      group.append(...models.map(({ id, name, help }) => new Option(help ? `${name} · ${help}` : name, id)));
      return group;
    }));
    select.value = chosen;
  }

  add(id) {
    const row = Object.assign(document.createElement("div"), { className: "model" });
    const select = Object.assign(document.createElement("select"), { name: "models" });
    this.fill(select, id);
    const remove = Object.assign(document.createElement("button"), { type: "button", className: "plain", textContent: "✕" });
    remove.addEventListener("click", () => {
      row.remove();
      this.name();
      this.changed();
    });
    select.addEventListener("change", () => {
      this.name();
      this.changed();
    });
    row.append(select, remove);
    this.list.append(row);
  }

  /** Models that are not chosen yet and know the same classes. */
  get others() {
    return this.settings.models.filter(({ id, classes }) => !this.ids.includes(id) && classes === this.classesNumber);
  }

  addAnother() {
    this.add(this.others[0].id);
    this.name();
    this.changed();
  }

  /** Say what each row is, and offer what can be done. */
  name() {
    const rows = [...this.list.children];
    rows.forEach((row, i) => {
      row.querySelector("select").setAttribute("aria-label", i === 0 ? "Model 1, the reference" : `Model ${i + 1}`);
      const remove = row.querySelector("button");
      remove.setAttribute("aria-label", `Remove model ${i + 1}`);
      remove.hidden = rows.length === 1;
    });
    this.more.hidden = rows.length >= this.settings.most || this.others.length === 0;
  }

  /** Take the models that the server finds among the choices; those that are chosen stay. */
  async search(input) {
    const wanted = input.value;
    await new Promise((later) => setTimeout(later, 300));
    if (input.value !== wanted) return;
    const answer = await fetch(at(`/live?${new URLSearchParams({ "search.models": wanted })}`));
    const page = await answer.text();
    if (!answer.ok || input.value !== wanted) return;
    const found = JSON.parse(new DOMParser().parseFromString(page, "text/html").getElementById("settings").textContent);
    const numbers = found.classes.map((names) => {
      const at = this.settings.classes.findIndex((known) => JSON.stringify(known) === JSON.stringify(names));
      return at < 0 ? this.settings.classes.push(names) - 1 : at;
    });
    const kept = this.settings.models.filter(({ id }) => this.ids.includes(id));
    const fresh = found.models.map((model) => ({ ...model, classes: numbers[model.classes] }));
    this.settings.models = [...kept, ...fresh.filter(({ id }) => !kept.some((one) => one.id === id))];
    for (const select of this.list.querySelectorAll("select")) this.fill(select, select.value);
    this.name();
  }
}
