// The first page: a picture of the showcase under attack, then the charts, which may come later.
import { at } from "./address.js";
import { Showcase } from "./showcase.js";

const view = document.getElementById("showcase");

function loaded(address) {
  return new Promise((resolve, reject) => {
    document.head.append(Object.assign(document.createElement("script"), { src: address, onload: resolve, onerror: reject }));
  });
}

if (view) {
  const showcase = new Showcase(view);
  const choose = async (choice) => {
    if (!(await showcase.show(choice.dataset.results))) return;
    for (const credit of view.querySelectorAll("[data-credit]")) credit.hidden = credit.dataset.credit !== choice.value;
    performance.mark("drawn");
    view.dataset.drawn = choice.value;
  };
  for (const choice of view.querySelectorAll("[name=picture]")) choice.addEventListener("change", () => choose(choice));
  await choose(view.querySelector("[name=picture]:checked"));
}
if (document.querySelector("figure[data-chart]")) {
  await loaded(at("/static/vendor/plotly-cartesian.min.js"));
  await import("./charts.js");
}
