// The arena of a live attack: how much it takes to break each model, what transfers, what survives.
import { budget, callings, distinct, expected, percent } from "./sentences.js";

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, BOTTOM] = [480, 200, 40, 24];
const FORMS = { float: "Unrounded", png: "8-bit PNG", "jpeg-90": "JPEG 90", "jpeg-75": "JPEG 75" };

function cell(tag, text, facts = {}) {
  return Object.assign(document.createElement(tag), { textContent: text }, facts);
}

function table(caption, head, rows) {
  const made = document.createElement("table");
  made.append(cell("caption", caption));
  const line = made.createTHead().insertRow();
  line.append(...head.map((text) => cell("th", text, { scope: "col" })));
  const body = made.createTBody();
  for (const row of rows) body.insertRow().append(...row);
  const scroll = cell("div", "", { className: "scroll", tabIndex: 0 });
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", caption);
  scroll.append(made);
  return scroll;
}

function head(name, identity) {
  const made = cell("th", "", { scope: "row" });
  made.append(cell("span", name, { className: `identity ${identity}` }));
  return made;
}

/** The bracket of a model's smallest budget, and what broke it. */
function minimal(result, model) {
  const { survived, broke, crafted_on: on, steps } = result.attacks[model].minimal;
  if (broke === null) return ["withstood all", `up to ${budget(result, survived)}`];
  if (survived === null) return ["none needed", "wrong on the clean image"];
  const by = on === model ? "on the model itself" : `crafted on ${result.models[on].name}`;
  return [budget(result, broke), `withstood ${budget(result, survived)}; broken ${by}, after ${steps} step${steps === 1 ? "" : "s"}`];
}

/** The smallest budget at which the last iterates still break the model when stored so. */
function stored(result, model, form) {
  const { survived, broke } = result.attacks[model].minimal;
  if (survived === null) return "–";
  if (broke === null) return "nothing to store";
  const { top } = result.attacks[model].stored.find((one) => one.form === form);
  const row = top.findIndex((k, i) => i > 0 && k !== expected(result, model));
  return row < 0 ? "does not survive" : `from ${budget(result, result.budgets[row])}`;
}

function budgets(result, names) {
  const rows = result.models.map((_, i) => {
    const [figure, how] = minimal(result, i);
    const first = cell("td", figure);
    first.append(cell("small", how));
    return [head(result.models[i].name, names[i]), cell("td", result.classes[result.clean[i].top]), first, ...Object.keys(FORMS).map((form) => cell("td", stored(result, i, form)))];
  });
  return table("Smallest budget that changes the answer, and what of it survives storing", ["Model", "Says of the clean image", "Smallest ε", ...Object.values(FORMS)], rows);
}

function transfers(result, names, row) {
  const called = distinct(result.models.map((model) => model.name));
  const rows = result.models.map((_, by) => [head(called[by], names[by]), ...result.models.map((__, model) => {
    const look = result.attacks[by].looks[model];
    const place = (row + 1) * (look.top.length / result.budgets.length) - 1;
    const top = look.top[place];
    const changed = top !== expected(result, model);
    return cell("td", `${result.classes[top]}, ${percent(look.confidence[place])}`, { className: changed ? "changed" : "" });
  })]);
  return table(`Transfer at ${budget(result, result.budgets[row])}: image crafted on (row), seen by (column); bold where the answer changes`, ["Crafted on", ...called], rows);
}

function shape(tag, facts) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(facts)) made.setAttribute(name, value);
  return made;
}

function write(text, facts) {
  const made = shape("text", facts);
  made.textContent = text;
  return made;
}

/** The probability of the class that is attacked, by budget, of each model under its own attack. */
function curves(result, names) {
  const last = result.budgets.length - 1;
  const columns = result.iterates.length;
  const lines = result.models.map((_, i) => {
    const at = result.shown.indexOf(expected(result, i));
    return result.budgets.map((__, row) => result.attacks[i].looks[i].probabilities[(row + 1) * columns - 1][at]);
  });
  const end = Math.max(0.1, Math.ceil(10 * Math.max(...lines.flat())) / 10);
  const x = (row) => LEFT + (row / last) * (WIDTH - LEFT - 8);
  const y = (share) => 8 + (1 - share / end) * (HEIGHT - BOTTOM - 8);
  const drawing = shape("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `Probability of the attacked class by budget: ${lines.map((line, i) => `${callings(result.models)[i]} from ${percent(line[0])} to ${percent(line[last])}`).join("; ")}` });
  for (const share of [0, end / 2, end]) drawing.append(shape("line", { x1: LEFT, x2: WIDTH - 8, y1: y(share), y2: y(share), class: "grid" }), write(`${Math.round(100 * share)} %`, { x: LEFT - 6, y: y(share) + 4, "text-anchor": "end" }));
  for (const row of [0, last / 2, last]) drawing.append(write(budget(result, result.budgets[Math.round(row)]), { x: x(row), y: HEIGHT - 4, "text-anchor": row === 0 ? "start" : row === last ? "end" : "middle" }));
  lines.forEach((line, i) => drawing.append(shape("polyline", { points: line.map((share, row) => `${x(row)},${y(share)}`).join(" "), class: `line is-${names[i]}` })));
  drawing.append(shape("line", { y1: 8, y2: HEIGHT - BOTTOM, class: "here", "data-here": "" }));
  const figure = document.createElement("figure");
  figure.append(cell("figcaption", result.label === null ? "Probability of what each model says of the clean image, under its own attack" : `Probability of “${result.label}”, each model under its own attack`), drawing);
  figure.x = x;
  return figure;
}

/** Fill the arena; it follows the budget of the viewer around it. */
export function showArena(holder, result, names) {
  const place = document.createElement("div");
  const figure = curves(result, names);
  holder.replaceChildren(budgets(result, names), place, figure);
  holder.follow = (row) => {
    place.replaceChildren(transfers(result, names, row));
    const here = figure.querySelector("[data-here]");
    here.setAttribute("x1", figure.x(row));
    here.setAttribute("x2", figure.x(row));
  };
  holder.follow(0);
}
