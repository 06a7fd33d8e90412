// What a live attack shows, in words; the one place where they are made.

const NBSP = "\u00a0";

export const percent = (share) => `${(100 * share).toFixed(1)}${NBSP}%`;

/** A budget in the norm's own measure: `8/255`, or the length. */
export function budget(result, epsilon) {
  if (result.params.attack.norm !== "linf") return String(Number(epsilon.toPrecision(4)));
  return `${Number((255 * epsilon).toFixed(3))}/255`;
}

/** The names without the words in which all of them end; at least one word is left of each. */
export function distinct(names) {
  if (names.length < 2) return names;
  const words = names.map((name) => name.split(" "));
  const most = Math.min(...words.map((parts) => parts.length)) - 1;
  let same = 0;
  while (same < most && new Set(words.map((parts) => parts.at(-1 - same))).size === 1) same += 1;
  return words.map((parts) => parts.slice(0, parts.length - same).join(" "));
}

/** What each model is called: teacher and student where that is what two models are, else its name in short. */
export function callings(models) {
  const recipes = models.map((model) => model.recipe);
  if (models.length === 2 && recipes[0] === "clean" && recipes[1] && recipes[1] !== "clean") return ["the teacher", "the student"];
  return distinct(models.map((model) => model.name)).map((name) => `“${name}”`);
}

/** The class that a model should say: the true one, else what it says of the clean image. */
export function expected(result, model) {
  return result.label === null ? result.clean[model].top : result.classes.indexOf(result.label);
}

/** One model's answer, with a mark: right or wrong where the truth is known, else none. */
export function answer(result, top, confidence) {
  const said = `${result.classes[top]}, ${percent(confidence)}`;
  if (result.label === null) return { text: said, mark: "" };
  const right = result.classes[top] === result.label;
  return { text: `${right ? "✓" : "✕"} ${said}`, mark: right ? "right" : "wrong" };
}

/** `At 8/255 the teacher says automobile; the student still says horse.` */
export function sentence(result, moment, tops) {
  const names = callings(result.models);
  const parts = tops.map((top, i) => {
    const clean = result.clean[i].top;
    const still = moment.row > 0 && top === clean && top === expected(result, i);
    return `${names[i]} ${still ? "still says" : "says"} ${result.classes[top]}`;
  });
  return `${begin(result, moment, names)} ${parts.join("; ")}.`;
}

function begin(result, moment, names) {
  if (moment.row === 0) return "Of the clean image";
  const steps = result.iterates[moment.column];
  const last = result.iterates.at(-1);
  const early = steps === last ? "" : ` after ${steps} of ${last} steps`;
  const of = moment.on === null ? "" : `, on the image crafted on ${names[moment.on]},`;
  return `At ${budget(result, result.budgets[moment.row])}${early}${of}`;
}

/** Beyond this many times what noise does, and with less of its highest fifth in place, a map has moved. */
const FAR = 2;
const IN_PLACE = 0.75;

/** Of a network that decides by what it has averaged, or by tokens that all count alike. */
export const NO_MAP = "Its last feature map has one position: there is no map of where it looks.";

/** Whether the attention moved, or only the logit; `moved` and `noise` are L1 distances. */
export function movement(changed, moved, noise, overlap) {
  const far = moved > FAR * noise && overlap < IN_PLACE;
  const verdict = changed
    ? far ? "The attention moved with the answer" : "Only the logit moved"
    : far ? "The attention moved, the answer did not" : "Neither moved";
  const times = noise > 0 ? `, ${(moved / noise).toFixed(1)} times what random noise of this size does` : "";
  return `${verdict}: map moved by ${moved.toFixed(3)}${times}; overlap of its highest fifth ${percent(overlap)}.`;
}
