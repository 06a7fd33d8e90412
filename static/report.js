// Follows charts.js inside a report, whose figures are all in one block.
/* global drawAll */

await drawAll(document, JSON.parse(document.getElementById("figures").textContent));

// What is folded away belongs on paper too.
window.addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details")) folded.open = true;
});
