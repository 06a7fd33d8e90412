// Controls of a training's curves: smoothing, logarithm, axis, shared zoom, reset, CSV. The address keeps them.
/* global Plotly */
import { redraw, viewThrough } from "./charts.js";

const controls = document.querySelector("[data-curves]");
const field = (name) => controls.querySelector(`[name="${name}"]`);
const AXES = {
  step: { title: "Training step", column: "step", of: (step) => step },
  epoch: { title: "Epoch", column: "epoch", of: (step, [epoch]) => epoch },
  time: { title: "Minutes of work", column: "minutes", of: (step, [, seconds]) => seconds / 60 },
};

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

/** A figure as the controls ask for it. Each point brings its epoch and its seconds along. */
function shown(figure) {
  const { by, smooth, log } = state();
  const place = AXES[by].of;
  const data = figure.data.map((trace) => ({ ...trace, x: trace.x.map((x, i) => place(x, trace.customdata[i])),
    y: smooth ? smoothed(trace.y, smooth) : trace.y }));
  const layout = structuredClone(figure.layout);
  layout.xaxis.title.text = AXES[by].title;
  if (log) layout.yaxis.type = "log";
  for (const mark of layout.shapes ?? []) mark.x0 = mark.x1 = place(mark.x0, layout.meta.best);
  // What was zoomed to stays, as long as the axes mean the same.
  layout.uirevision = `${by} ${log}`;
  return { data, layout };
}

const plots = () => [...document.querySelectorAll("figure[data-chart] .plot")].filter((plot) => plot.data);

function change() {
  const { by, smooth, log } = state();
  field("smooth").nextElementSibling.textContent = smooth ? smooth.toFixed(2) : "off";
  const address = new URL(location.href);
  for (const [name, value, usual] of [["by", by, "step"], ["smooth", String(smooth), "0"], ["log", log ? "1" : "", ""]]) {
    if (value === usual) address.searchParams.delete(name);
    else address.searchParams.set(name, value);
  }
  history.replaceState(null, "", address);
  return redraw();
}

const followed = new WeakSet();
let following = false;

/** Let the other charts zoom where this one does. */
function follow(plot) {
  controls.hidden = false;
  if (followed.has(plot)) return;
  followed.add(plot);
  plot.on("plotly_relayout", async (event) => {
    if (following || !field("together").checked) return;
    const range = event["xaxis.range"] ?? [event["xaxis.range[0]"], event["xaxis.range[1]"]];
    const update = event["xaxis.autorange"] ? { "xaxis.autorange": true } : range[0] === undefined ? null : { "xaxis.range": range };
    if (!update) return;
    following = true;
    for (const other of plots()) if (other !== plot) await Plotly.relayout(other, structuredClone(update));
    following = false;
  });
}

const plain = (html) => new DOMParser().parseFromString(html, "text/html").documentElement.textContent;
/** Quoted; a spreadsheet would run what looks like a formula. */
const quoted = (text) => `"${(/^[=+\-@]/.test(text) ? `'${text}` : text).replaceAll('"', '""')}"`;

/** What is drawn: of every line in sight, the points in sight, as reported and smoothed. */
function* rows() {
  const { by, smooth } = state();
  yield ["chart", "curve", "number", AXES[by].column, "raw", "smoothed"].join(",");
  for (const plot of plots()) {
    const { autorange, range } = plot.layout.xaxis;
    const [low, high] = autorange ? [-Infinity, Infinity] : range;
    for (const [n, trace] of shown(plot.figure).data.entries()) {
      if (plot.data[n].visible === "legendonly") continue;
      const of = [plot.closest("figure").dataset.chart, quoted(plain(trace.name)), trace.meta];
      const raw = plot.figure.data[n].y;
      for (const [i, x] of trace.x.entries())
        if (x >= low && x <= high && raw[i] !== null) yield [...of, x, raw[i], smooth ? trace.y[i] : ""].join(",");
    }
  }
}

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([[...rows()].join("\n") + "\n"], { type: "text/csv" }));
  link.download = `${controls.closest("[data-file]").dataset.file}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

const asked = new URLSearchParams(location.search);
const by = controls.querySelector(`[name=by][value="${CSS.escape(asked.get("by") ?? "step")}"]`);
if (by) by.checked = true;
if (asked.has("smooth")) field("smooth").value = asked.get("smooth");
field("log").checked = asked.get("log") === "1";
viewThrough(shown);
document.addEventListener("lab:drawn", (event) => follow(event.target));
for (const plot of plots()) follow(plot);
change();
controls.addEventListener("input", change);
controls.querySelector("[data-csv]").addEventListener("click", save);
controls.querySelector("[data-reset]").addEventListener("click", async () => {
  field("smooth").value = "0";
  field("log").checked = false;
  controls.querySelector("[name=by][value=step]").checked = true;
  await change();
  for (const plot of plots()) await Plotly.relayout(plot, { "xaxis.autorange": true, "yaxis.autorange": true });
});
