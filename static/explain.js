// Shows an explain result; its slider needs nothing from the server.
/* global Plotly */
import { drawMap, drawScale } from "./attention.js";
import { draw } from "./charts.js";

const view = document.getElementById("view");
const slider = document.getElementById("epsilon");
const opacity = document.getElementById("opacity");
let shown = null;

function write(name, text) {
  for (const place of view.querySelectorAll(`[data-text="${name}"]`)) place.textContent = text;
}

function picture(name, base64) {
  for (const image of view.querySelectorAll(`[data-image="${name}"]`)) image.src = `data:image/png;base64,${base64}`;
}

const percent = (share) => `${(100 * share).toFixed(1)}\u00a0%`;

/** What a model says, and whether it is right. */
function answer(result, probabilities) {
  const best = probabilities.indexOf(Math.max(...probabilities));
  const right = result.classes[best] === result.label;
  return { right, text: `${right ? "✓" : "✕"} ${result.classes[best]}, ${percent(probabilities[best])}` };
}

/** One model on one image: its map, what it says, and how far its map is from the teacher's. */
function showSide(who, state, side) {
  const kind = view.querySelector("[name=map]:checked").value;
  const holder = view.querySelector(`[data-map="${who}-${state}"]`);
  drawMap(holder.querySelector("canvas"), side[kind]);
  const says = answer(shown.result, side.probabilities);
  write(`${who}-${state}-says`, says.text);
  holder.querySelector("figcaption").classList.toggle("wrong", !says.right);
  write(`${who}-${state}-l1`, side[`${kind}_l1`].toFixed(3));
  write(`${who}-${state}-cosine`, side[`${kind}_cosine`].toFixed(3));
}

function showLevel() {
  const { result, figures } = shown;
  const at = Number(slider.value);
  const level = result.levels[at];
  const words = figures.true_class.layout.meta.levels[at];
  slider.setAttribute("aria-valuetext", words.epsilon);
  document.getElementById("epsilon-text").textContent = words.epsilon;
  for (const name of ["epsilon", "largest", "l2"]) write(name, words[name]);
  picture("adversarial", level.adversarial_png);
  picture("perturbation", level.perturbation_png);
  for (const who of ["teacher", "student"]) {
    showSide(who, "clean", result.levels[0][who]);
    showSide(who, "adversarial", level[who]);
    const { plot, classes } = shown.bars[who];
    Plotly.restyle(plot, { x: [classes.map((k) => level[who].probabilities[k])] }, [1]);
  }
  const x = figures.true_class.data[0].x[at];
  Plotly.relayout(shown.curve, { "shapes[0].x0": x, "shapes[0].x1": x });
}

function describe(result, attack, jobId) {
  const label = result.label_is_given ? `“${result.label}”` : `“${result.label}”, as the teacher sees it`;
  document.getElementById("view-title").textContent = `An image of ${label}`;
  document.getElementById("view-attack").textContent =
    `${attack}, crafted on the ${result.crafted_on}; for the other model the same image is a transfer attack.`;
  write("teacher", result.teacher.name);
  write("student", result.student.name);
  const source = document.getElementById("view-source");
  const link = document.createElement("a");
  link.href = `/jobs/${jobId}`;
  link.textContent = "The job with its parameters";
  source.replaceChildren(link, ` · computed in ${result.environment.seconds.toFixed(2)} s on ${result.environment.device}`);
}

/** Show a result with the figures that belong to it. */
export async function show(jobId, result, figures) {
  view.hidden = false;
  slider.max = result.levels.length - 1;
  slider.value = Math.floor(result.levels.length / 2);
  const meta = figures.true_class.layout.meta;
  describe(result, meta.attack, jobId);
  picture("clean", result.clean_png);
  write("factor", meta.factor);
  write("range", meta.range);
  const place = (name) => draw(view.querySelector(`[data-chart="${name}"]`), figures[name]);
  const [curve, teacher, student] = await Promise.all(["true_class", "teacher", "student"].map(place));
  shown = {
    result, figures, curve,
    bars: {
      teacher: { plot: teacher, classes: figures.teacher.layout.meta.classes },
      student: { plot: student, classes: figures.student.layout.meta.classes },
    },
  };
  showLevel();
}

function showOpacity() {
  view.style.setProperty("--overlay", Number(opacity.value) / 100);
  document.getElementById("opacity-text").textContent = `${opacity.value}\u00a0%`;
}

slider.addEventListener("input", showLevel);
opacity.addEventListener("input", showOpacity);
for (const radio of view.querySelectorAll("[name=map]")) radio.addEventListener("change", showLevel);
drawScale(document.getElementById("scale"));
showOpacity();
