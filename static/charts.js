// Draws the figures that the server built, in the page's own colours, light and dark.
/* global Plotly */

const drawn = new Set();

function token(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function axisTheme() {
  return {
    gridcolor: token("--line"), linecolor: token("--line"), zerolinecolor: token("--line"),
    tickcolor: token("--line"), automargin: true,
  };
}

function themed(layout) {
  return {
    ...layout,
    autosize: true,
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: token("--ink") },
    hoverlabel: { ...layout.hoverlabel, bgcolor: token("--surface"), bordercolor: token("--line"),
      font: { color: token("--ink"), size: 12 } },
    xaxis: { ...layout.xaxis, ...axisTheme() },
    yaxis: { ...layout.yaxis, ...axisTheme() },
  };
}

const CONFIG = { responsive: true, displaylogo: false, displayModeBar: false, scrollZoom: false };

/** Draw a figure, or draw it anew, inside `<figure data-chart>`. */
export async function draw(holder, figure) {
  const plot = holder.querySelector(".plot");
  holder.hidden = false;
  plot.figure = figure;
  drawn.add(plot);
  await Plotly.react(plot, figure.data, themed(figure.layout), CONFIG);
  return plot;
}

/** Draw what there is of `figures`, and hide the places of what there is not. */
export function drawAll(root, figures) {
  for (const holder of root.querySelectorAll("figure[data-chart]")) {
    const figure = figures[holder.dataset.chart];
    if (figure) draw(holder, figure);
    else holder.hidden = true;
  }
}

window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const plot of drawn) {
    if (plot.isConnected) Plotly.react(plot, plot.figure.data, themed(plot.figure.layout), CONFIG);
  }
});

// Figures that came with the page.
for (const holder of document.querySelectorAll("figure[data-chart]")) {
  const block = holder.querySelector('script[type="application/json"]');
  if (block) draw(holder, JSON.parse(block.textContent));
}
