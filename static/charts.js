// Draws the figures that the server built, in the page's own colours, light and dark.
/* global Plotly */

const drawn = new Set();

/** A token's colour as the page shows it now: a token itself names one for light and one for dark. */
function token(name) {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.style.color = `var(${name})`;
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

const PAGE = { ink: () => token("--ink"), line: () => token("--line"), surface: () => token("--surface") };
/** A saved picture is light whatever the page is: it ends up on paper. */
const PAPER = { ink: () => "#1a2026", line: () => "#d9dee2", surface: () => "#ffffff" };

function axisTheme(colours) {
  const line = colours.line();
  return { gridcolor: line, linecolor: line, zerolinecolor: line, tickcolor: line, automargin: true };
}

const APART = 10;

/** The title of a vertical axis, clear of its labels. */
function titled(axis) {
  return axis?.title ? { title: { ...axis.title, standoff: APART } } : {};
}

function themed(layout, colours = PAGE) {
  return {
    ...layout,
    autosize: true,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: colours.ink() },
    hoverlabel: { ...layout.hoverlabel, bgcolor: colours.surface(), bordercolor: colours.line(),
      font: { color: colours.ink(), size: 12 } },
    xaxis: { ...layout.xaxis, ...axisTheme(colours) },
    yaxis: { ...layout.yaxis, ...axisTheme(colours), ...titled(layout.yaxis) },
  };
}

const CONFIG = { displaylogo: false, displayModeBar: false, scrollZoom: false };

const LETTER = 6.6;
const SYMBOL = 70;
const LONGEST = 48;

/** Names cut in their middle to what a legend in so many pixels has room for: both ends tell models apart. */
function named(data, width) {
  const most = Math.min(LONGEST, Math.max(14, Math.floor((width - SYMBOL) / LETTER)));
  return data.map((trace) => (trace.name ? { ...trace, name: escaped(cut(unescaped(trace.name), most)) } : trace));
}

function cut(text, most) {
  const letters = [...text];
  if (letters.length <= most) return text;
  const end = Math.floor((most - 1) / 2);
  return `${letters.slice(0, most - 1 - end).join("")}…${letters.slice(-end).join("")}`;
}

const NARROW = 520;
const LEGEND_LINE = 20;

/** In a narrow card every entry of a legend has a line of its own: beyond two, these are added to the chart's height. */
function withRoom(plot, { data, layout }) {
  const usual = layout.height ?? parseFloat(getComputedStyle(plot).minHeight);
  if (!usual) return layout;
  const lines = [...data, ...(layout.shapes ?? [])].filter((one) => one.name && one.showlegend !== false).length;
  const added = plot.clientWidth < NARROW ? LEGEND_LINE * Math.max(0, lines - 2) : 0;
  return { ...layout, height: usual + added };
}

let view = (figure) => figure;

/** From now on draw of each figure what `change` makes of it. */
export function viewThrough(change) {
  view = change;
}

function react(plot) {
  const { data, layout } = view(plot.figure);
  return Plotly.react(plot, named(data, plot.clientWidth), themed(withRoom(plot, { data, layout })), CONFIG);
}

const longer = new Set();

/** Add a point to a line; where it lies on other axes, its last two points say. */
export function extend(plot, index, x, y) {
  const { x: xs, y: ys, customdata } = plot.figure.data[index];
  const [before, last] = (customdata ?? []).slice(-2);
  if (last) {
    const share = (x - xs.at(-1)) / (xs.at(-1) - xs.at(-2));
    customdata.push(last.map((value, i) => value + (value - before[i]) * share));
  } else customdata?.push(before ?? [0, 0]);
  xs.push(x);
  ys.push(y);
  if (!longer.size) requestAnimationFrame(drawLonger);
  longer.add(plot);
}

function drawLonger() {
  for (const plot of longer) if (plot.data) react(plot);
  longer.clear();
}

const widths = new WeakMap();

/** A chart keeps to its card, whatever made that wider or narrower: a window, a sibling that appeared, a fold. */
const resizing = new ResizeObserver((entries) => {
  for (const { target: plot, contentRect } of entries) {
    const before = widths.get(plot);
    widths.set(plot, contentRect.width);
    if (!plot.data || !contentRect.width || Math.abs(before - contentRect.width) < 1) continue;
    react(plot);
  }
});

/** Draw a figure, or draw it anew, inside `<figure data-chart>`. Folded away, it waits. */
export async function draw(holder, figure) {
  const plot = holder.querySelector(".plot");
  holder.hidden = false;
  plot.figure = figure;
  drawn.add(plot);
  if (plot.checkVisibility()) {
    widths.set(plot, plot.clientWidth);
    const first = !plot.data;
    await react(plot);
    resizing.observe(plot);
    if (first) plot.dispatchEvent(new CustomEvent("lab:drawn", { bubbles: true }));
  }
  return plot;
}

/** Draw what there is of `figures`, and hide the places of what there is not. */
export async function drawAll(root, figures) {
  for (const holder of root.querySelectorAll("figure[data-chart]")) {
    const figure = figures[holder.dataset.chart];
    if (figure) await draw(holder, figure);
    else holder.hidden = true;
  }
}

/** Draw what had been folded away. */
function drawWaiting() {
  for (const plot of drawn) {
    if (plot.isConnected && !plot.data && plot.checkVisibility()) draw(plot.closest("figure"), plot.figure);
  }
}

document.addEventListener("toggle", drawWaiting, true);

// A switch shows one of several panels beside it.
for (const group of document.querySelectorAll("[data-switch]")) {
  const show = () => {
    const chosen = group.querySelector(":checked")?.value;
    for (const panel of group.parentElement.querySelectorAll(":scope > [data-panel]")) panel.hidden = panel.dataset.panel !== chosen;
    drawWaiting();
  };
  show();
  group.addEventListener("change", show);
  window.addEventListener("pageshow", show);
}

/** Text for Plotly, which reads a little HTML in titles. */
function escaped(text) {
  const holder = document.createElement("span");
  holder.textContent = text;
  return holder.innerHTML;
}

function unescaped(html) {
  return new DOMParser().parseFromString(html, "text/html").documentElement.textContent;
}

/** Save a chart with its caption, as it would stand on paper. */
function save(button) {
  const holder = button.closest("figure");
  const plot = holder.querySelector(".plot");
  if (!plot.figure) return;
  const format = button.dataset.save;
  const legend = plot.querySelector(".legend")?.getBoundingClientRect().height ?? 0;
  const [width, height] = [Math.max(480, plot.clientWidth), plot.clientHeight + 56];
  const title = [holder.querySelector(".caption").textContent, holder.dataset.of].filter(Boolean).join(": ");
  const figure = view(plot.figure);
  const margin = figure.layout.margin;
  const layout = {
    ...themed(figure.layout, PAPER), paper_bgcolor: PAPER.surface(), width, height,
    margin: { ...margin, t: 48 + legend, b: margin.b + 12 },
    title: { text: escaped(title), font: { size: 14 }, x: 0.01, xanchor: "left", y: 1, yref: "container", yanchor: "top", pad: { t: 12 } },
  };
  const name = [document.querySelector("[data-file]")?.dataset.file, holder.dataset.chart].filter(Boolean).join("-");
  Plotly.downloadImage({ data: named(figure.data, width), layout }, { format, width, height, scale: format === "png" ? 2 : 1, filename: name });
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-save]");
  if (button) save(button);
});

/** Draw once more what is drawn. */
export function redraw() {
  return Promise.all([...drawn].filter((plot) => plot.isConnected && plot.data).map(react));
}

// The system's colours changed, or the reader chose others.
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
document.addEventListener("lab:theme", redraw);

// Figures that came with the page.
for (const holder of document.querySelectorAll("figure[data-chart]")) {
  const block = holder.querySelector('script[type="application/json"]');
  if (block) draw(holder, JSON.parse(block.textContent));
}
