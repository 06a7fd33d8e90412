// What is shown, as files.

/** The picture itself, a pixel a pixel: what the model saw. */
function plainPicture(viewer, model) {
  const size = viewer.result.image_size;
  const canvas = Object.assign(document.createElement("canvas"), { width: size, height: size });
  const { row, column } = viewer.moment;
  viewer.sheets[viewer.seen(model).by].shown.draw(canvas, row, column, false);
  return canvas;
}

function saver(viewer, label, name, canvas) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "plain", textContent: label });
  button.addEventListener("click", () => canvas().toBlob((blob) => {
    const { row, column, map } = viewer.moment;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${name}-${map}-budget-${row}-step-${viewer.result.iterates[column]}.png`;
    link.click();
    URL.revokeObjectURL(link.href);
  }));
  return button;
}

/** Offer each picture and each map of a viewer, and the archive where there is one. */
export function layDownloads(viewer) {
  const offers = viewer.result.models.flatMap((model, i) => {
    const map = (tile) => () => viewer.columns[i].querySelector(`[data-tile=${tile}] .map`);
    return [
      saver(viewer, `Adversarial image, ${model.name}`, `adversarial-${i + 1}`, () => plainPicture(viewer, i)),
      saver(viewer, `Clean map, ${model.name}`, `map-clean-${i + 1}`, map("clean")),
      saver(viewer, `Adversarial map, ${model.name}`, `map-adversarial-${i + 1}`, map("now")),
    ];
  });
  const { archive } = viewer.options;
  if (archive) offers.unshift(Object.assign(document.createElement("a"), { href: archive, textContent: "Everything to reproduce it (ZIP)" }));
  viewer.part(".downloads .row").replaceChildren(...offers);
}
