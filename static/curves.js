// Controls of laid-over curves: smoothing, logarithm, axis, shared zoom, reset, CSV. The address keeps them.
/* global Plotly */
import { draw } from "./charts.js";

const controls = document.querySelector("[data-curves]");
const field = (name) => controls.querySelector(`[name="${name}"]`);
const holders = [...document.querySelectorAll("figure[data-chart]")];
const AXES = {
  step: { title: "Training step", of: (trace) => trace.x },
  epoch: { title: "Epoch", of: (trace) => trace.customdata.map(([epoch]) => epoch) },
  time: { title: "Minutes of work", of: (trace) => trace.customdata.map(([, seconds]) => seconds / 60) },
};
const originals = new Map();

/** An exponential mean that does not begin at zero; a gap stays a gap. */
function smoothed(values, weight) {
  let sum = 0, total = 0;
  return values.map((value) => {
    if (value === null) return null;
    sum = weight * sum + (1 - weight) * value;
    total = weight * total + (1 - weight);
    return sum / total;
  });
}

const state = () => ({
  by: controls.querySelector("[name=by]:checked").value,
  smooth: Number(field("smooth").value),
  log: field("log").checked,
});

function shown(figure) {
  const { by, smooth, log } = state();
  const data = figure.data.map((trace) => ({ ...trace, x: AXES[by].of(trace), y: smooth ? smoothed(trace.y, smooth) : trace.y }));
  const layout = structuredClone(figure.layout);
  layout.xaxis.title.text = AXES[by].title;
  if (log) layout.yaxis.type = "log";
  return { data, layout };
}

async function redraw() {
  const { by, smooth, log } = state();
  field("smooth").nextElementSibling.textContent = smooth ? smooth.toFixed(2) : "off";
  const address = new URL(location.href);
  for (const [name, value, usual] of [["by", by, "step"], ["smooth", String(smooth), "0"], ["log", log ? "1" : "", ""]]) {
    if (value === usual) address.searchParams.delete(name);
    else address.searchParams.set(name, value);
  }
  history.replaceState(null, "", address);
  for (const [holder, figure] of originals) await draw(holder, shown(figure));
}

let following = false;
function follow(plot) {
  plot.on("plotly_relayout", async (change) => {
    if (following || !field("together").checked) return;
    const range = change["xaxis.range"] ?? [change["xaxis.range[0]"], change["xaxis.range[1]"]];
    const update = change["xaxis.autorange"] ? { "xaxis.autorange": true } : range[0] === undefined ? null : { "xaxis.range": range };
    if (!update) return;
    following = true;
    for (const holder of originals.keys()) {
      const other = holder.querySelector(".plot");
      if (other !== plot && other.data) await Plotly.relayout(other, structuredClone(update));
    }
    following = false;
  });
}

function csv() {
  const quoted = (text) => `"${String(text).replaceAll('"', '""')}"`;
  const rows = [["chart", "curve", AXES[state().by].title, "value"].map(quoted).join(",")];
  for (const holder of originals.keys()) {
    const plot = holder.querySelector(".plot");
    const [low, high] = plot.layout.xaxis.range ?? [-Infinity, Infinity];
    for (const trace of plot.data) {
      if (trace.visible === "legendonly") continue;
      const name = new DOMParser().parseFromString(trace.name, "text/html").documentElement.textContent;
      // A spreadsheet would run what looks like a formula.
      const safe = /^[=+\-@]/.test(name) ? `'${name}` : name;
      trace.x.forEach((x, i) => {
        if (x >= low && x <= high && trace.y[i] !== null) rows.push([quoted(holder.dataset.chart), quoted(safe), x, trace.y[i]].join(","));
      });
    }
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([rows.join("\n") + "\n"], { type: "text/csv" }));
  link.download = "trainings.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

const asked = new URLSearchParams(location.search);
const by = controls.querySelector(`[name=by][value="${CSS.escape(asked.get("by") ?? "step")}"]`);
if (by) by.checked = true;
if (asked.has("smooth")) field("smooth").value = asked.get("smooth");
field("log").checked = asked.get("log") === "1";
for (const holder of holders) {
  const block = holder.querySelector('script[type="application/json"]');
  if (block) originals.set(holder, JSON.parse(block.textContent));
  else holder.hidden = true;
}
controls.hidden = false;
await redraw();
for (const holder of originals.keys()) follow(holder.querySelector(".plot"));
controls.addEventListener("input", redraw);
controls.querySelector("[data-csv]").addEventListener("click", csv);
controls.querySelector("[data-reset]").addEventListener("click", async () => {
  field("smooth").value = "0";
  field("log").checked = false;
  controls.querySelector("[name=by][value=step]").checked = true;
  await redraw();
  for (const holder of originals.keys())
    await Plotly.relayout(holder.querySelector(".plot"), { "xaxis.autorange": true, "yaxis.autorange": true });
});
