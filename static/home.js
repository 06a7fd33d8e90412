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
  const choices = [...view.querySelectorAll("[name=picture]")];
  const slider = view.querySelector("[data-slider]");
  const facts = new URLSearchParams(location.search);
  const asked = choices.find((one) => one.value === facts.get("picture"));
  if (asked) asked.checked = true;
  if (facts.get("eps")) slider.value = parseInt(facts.get("eps"), 10) || 0;
  // The address says what was chosen.
  const remember = () => history.replaceState(null, "", at(`/?${new URLSearchParams({ picture: choices.find((one) => one.checked).value, eps: slider.value })}${location.hash}`));
  for (const choice of choices) choice.addEventListener("change", () => { remember(); choose(choice); });
  slider.addEventListener("change", remember);
  await choose(choices.find((one) => one.checked));
}
if (document.querySelector("figure[data-chart]")) {
  await loaded(at("/static/vendor/plotly-cartesian.min.js"));
  await import("./charts.js");
}
