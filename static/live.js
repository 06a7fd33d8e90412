// Sends an image with an attack, follows the job, and hands the result to the viewer.
import { at, proof } from "./address.js";
import { takePicture } from "./camera.js";
import { show } from "./explain.js";
import { ModelList } from "./model-list.js";
import { budget } from "./sentences.js";
import { Showcase } from "./showcase.js";

const settings = JSON.parse(document.getElementById("settings").textContent);
const form = document.getElementById("live");
const status = document.getElementById("status");
const input = document.getElementById("image");
const drop = document.getElementById("drop");
const preview = document.getElementById("preview");
const viewer = document.querySelector(".viewer");
const TYPES = input.accept.split(",");
const MODELS_KEPT = "live.models";
const SETTLED_MS = 250;
/** Why whoever looks starts no attack; empty where they may. */
const locked = form.dataset.locked ?? "";
let image = null;
let current = 0;
let running = null;

/** The control of a field; of radio buttons the chosen one. */
const field = (name) => form.querySelector(`[name$="${name}"]:checked`) ?? form.querySelector(`[name$="${name}"]:not([type=hidden], [type=search])`);

// The image: chosen, dropped, pasted, photographed, or one of the lab's own. Each is attacked at once.

/** Whether the browser can show a file. */
const shows = (file) => createImageBitmap(file).then((bitmap) => (bitmap.close(), true), () => false);

/** Whether a file begins as PNG, JPEG or WebP: what the browser cannot show of these, the lab may read. */
async function isPicture(file) {
  const head = String.fromCharCode(...new Uint8Array(await file.slice(0, 12).arrayBuffer()));
  return head.startsWith("\x89PNG") || head.startsWith("\xff\xd8\xff") || /^RIFF.{4}WEBP/s.test(head);
}

/** Why a file cannot be sent, by its type and size; empty if it can. */
function misfit(file) {
  if (!TYPES.includes(file.type)) return `“${file.name}” is no image that can be read: use PNG, JPEG or WebP.`;
  if (file.size === 0) return `“${file.name}” is empty.`;
  if (file.size > settings.most_bytes) return `“${file.name}” is larger than ${settings.most_bytes / 2 ** 20} MB.`;
  return "";
}

let taking = 0;

/** Take a file as the image; false if it is none, or another one was given meanwhile. */
async function take(file, name, label = "") {
  if (!file) return false;
  const mine = ++taking;
  const named = new File([file], name ?? file.name, { type: file.type });
  let why = misfit(named);
  const [shown, picture] = why ? [false, false] : await Promise.all([shows(named), isPicture(named)]);
  if (mine !== taking) return false;
  if (!why && !shown && !picture) why = `“${named.name}” is no image, whatever its name says: use PNG, JPEG or WebP.`;
  complain("image", why);
  if (why) return false;
  image = named;
  if (preview.src) URL.revokeObjectURL(preview.src);
  if (shown) preview.src = URL.createObjectURL(file);
  else preview.removeAttribute("src");
  preview.hidden = !shown;
  field("label").value = label;
  return true;
}

function mark(chosen) {
  for (const sample of form.querySelectorAll(".sample")) sample.setAttribute("aria-pressed", String(sample === chosen));
}

async function takeAndAttack(file, name) {
  if (locked) return complain("image", locked);
  if (!(await take(file, name))) return;
  mark(null);
  attack();
}

document.getElementById("choose").addEventListener("click", () => input.click());
input.addEventListener("change", () => {
  takeAndAttack(input.files[0]);
  input.value = "";
});
for (const kind of ["dragenter", "dragover"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", !locked);
  });
}
for (const kind of ["dragleave", "drop"]) document.addEventListener(kind, () => drop.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  takeAndAttack(event.dataTransfer.files[0]);
});
document.addEventListener("paste", (event) => {
  const [file] = event.clipboardData.files;
  if (file) takeAndAttack(file, file.name || "pasted.png");
});
document.getElementById("photograph").addEventListener("click", async () => {
  try {
    const picture = await takePicture(document.getElementById("camera"));
    if (picture) takeAndAttack(picture, "camera.png");
  } catch (error) {
    complain("image", `The camera cannot be used: ${error.message}`);
  }
});

/** Take one of the lab's own images; `label` is its class, if the models know it. */
async function takeOwn(address, label, chosen = null) {
  const answer = await fetch(address);
  if (!answer.ok) return say("This sample cannot be read.", true);
  const known = models.classes.includes(label) ? label : "";
  if (!(await take(await answer.blob(), label ? `${label}.png` : address.split("/").at(-1), known))) return;
  if (known && known === aimed()) aimAt("");
  mark(chosen);
  await attack();
}

for (const sample of form.querySelectorAll(".sample")) {
  sample.addEventListener("click", () => takeOwn(sample.dataset.image, sample.dataset.class, sample));
}

// The models: classes and samples follow the first one.

function followModels() {
  document.getElementById("classes").replaceChildren(...models.classes.map((name) => Object.assign(document.createElement("option"), { value: name })));
  for (const set of form.querySelectorAll("[data-classes]")) set.hidden = set.dataset.classes !== String(models.classesNumber);
  complain("models", "");
}

// A browser may keep nothing, or something else.
function keep(ids) {
  try {
    localStorage.setItem(MODELS_KEPT, JSON.stringify(ids));
  } catch {
    // The next visit begins with the lab's own choice.
  }
}

function kept() {
  try {
    const ids = JSON.parse(localStorage.getItem(MODELS_KEPT));
    return Array.isArray(ids) ? ids : [];
  } catch {
    return [];
  }
}

const models = new ModelList(settings, () => {
  followModels();
  keep(models.ids);
  if (field("label").value && !models.classes.includes(field("label").value)) field("label").value = "";
  again();
});

/** Those that the address names, else those that this browser used last, else the lab's own choice. */
function beginModels() {
  const used = kept();
  const fits = !form.dataset.chosen && used.length > 0 && models.knows(used);
  models.begin(fits ? used : settings.chosen);
  followModels();
}

// The attack's settings.

function summarise() {
  const parts = [field("method"), field("norm")].map((one) => one.closest("label").querySelector("span").firstChild.textContent.trim());
  if (!field(".steps").closest(".field").hidden) parts.push(`${field(".steps").value} steps`);
  const most = field("max_epsilon");
  parts.push(`up to ${most.value}${most.dataset.unit ?? ""}`);
  const target = field("target_class");
  if (!target.closest(".field").hidden && target.value) parts.push(`towards ${target.value}`);
  document.getElementById("attack-summary").textContent = parts.join(", ");
  aim.hidden = !aimed();
  aim.textContent = `Towards ${aimed()} ✕`;
}

// The largest budget is typed in the unit of the norm, and each norm has its own bound.
const largest = field("max_epsilon");
let norm = field("norm").value;

function followNorm() {
  const { unit, called, most, usual } = settings.largest[field("norm").value];
  if (field("norm").value !== norm) largest.value = usual;
  norm = field("norm").value;
  largest.max = most;
  largest.dataset.unit = unit;
  largest.parentElement.querySelector(".unit").textContent = called;
  largest.closest(".field").querySelector(".bounds").textContent = "";
}

for (const name of ["label", "target_class"]) field(name).setAttribute("list", "classes");
form.addEventListener("change", (event) => {
  followNorm();
  summarise();
  if (event.target.closest("details")) again();
});

const aim = document.getElementById("aim");

/** Attack towards a class from now on; towards none if it is empty. */
function aimAt(name) {
  field("target_class").value = name;
  const goal = form.querySelector(`[name$='.goal'][value=${name ? "class" : "untargeted"}]`);
  goal.checked = true;
  goal.dispatchEvent(new Event("change", { bubbles: true }));
}

/** The class that is aimed at; empty for none. */
const aimed = () => (form.querySelector("[name$='.goal']:checked").value === "class" ? field("target_class").value : "");

aim.addEventListener("click", () => aimAt(""));

// Sending and following.

function say(text, bad = false) {
  status.textContent = text;
  status.classList.toggle("bad", bad);
}

/** Put a message at a field; an empty one takes it away. False when there is no such field. */
function complain(name, message) {
  const own = { image: drop, models: document.getElementById("models") }[name];
  const control = own ? null : field(name);
  const holder = own ?? control?.closest(".field");
  if (!holder) return false;
  const place = holder.querySelector(".error") ?? holder.appendChild(Object.assign(document.createElement("span"), { className: "error" }));
  place.textContent = message;
  place.hidden = !message;
  if (message) control?.setAttribute("aria-invalid", "true");
  else control?.removeAttribute("aria-invalid");
  if (message) holder.closest("details")?.setAttribute("open", "");
  return true;
}

function entries() {
  const data = new FormData();
  data.append("image", image);
  for (const control of form.elements) {
    if (!control.name || control.disabled || ["file", "hidden", "search", "submit", "button", "fieldset"].includes(control.type)) continue;
    const name = control.name.split(".").at(-1);
    if (control.type === "radio" && !control.checked) continue;
    if (control.type === "checkbox") data.append(name, String(control.checked));
    else if (control.value !== "") data.append(name, control.value + (control.dataset.unit ?? ""));
  }
  return data;
}

async function problem(answer) {
  const body = await answer.json().catch(() => ({ detail: `The lab answered ${answer.status}.`, hint: "" }));
  const unplaced = (body.errors ?? []).filter((error) => !complain(error.field.split(".")[0], error.message));
  const placed = (body.errors ?? []).length > unplaced.length;
  say(placed && !unplaced.length ? "Something in the form cannot be taken." : `${body.detail} ${body.hint ?? ""}`, true);
}

let timer = null;

/** Attack the same image with what is chosen now, once the choice has come to rest. */
function again() {
  clearTimeout(timer);
  if (image) timer = setTimeout(attack, SETTLED_MS);
}

/** A job that nobody waits for any more. */
function give(id) {
  fetch(at(`/api/jobs/${id}/cancel`), { method: "POST", headers: proof() }).catch(() => {});
}

async function attack() {
  clearTimeout(timer);
  if (locked) return;
  for (const wrong of form.querySelectorAll("[aria-invalid]")) complain(wrong.name.split(".").at(-1), "");
  complain("models", "");
  if (!image) return complain("image", "Choose an image first.");
  const mine = ++current;
  const before = image === shownOf ? shown : null;
  if (running) give(running);
  running = null;
  viewer.setAttribute("aria-busy", "true");
  say("Sending the image…");
  try {
    const answer = await fetch(at("/api/live"), { method: "POST", headers: proof(), body: entries() });
    if (mine !== current) return answer.ok ? give((await answer.json()).id) : undefined;
    if (!answer.ok) return await problem(answer);
    const job = await answer.json();
    running = job.id;
    await finished(job.id, mine);
    if (mine === current) await open(job.id, mine, stay(before));
  } catch (error) {
    if (mine === current) say(error.message || "The lab does not answer.", true);
  } finally {
    if (mine === current) {
      running = null;
      viewer.removeAttribute("aria-busy");
    }
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  attack();
});

/** Resolves when the job has succeeded; rejects with what went wrong. Its first part is shown as it comes. */
function finished(id, mine) {
  return new Promise((resolve, reject) => {
    const stream = new EventSource(at(`/api/jobs/${id}/events`));
    const look = async () => {
      const job = await (await fetch(at(`/api/jobs/${id}`))).json();
      if (mine !== current) return resolve();
      if (job.status === "queued") say(`Waiting: ${job.waiting_because ?? "a worker is about to take it."}`);
      if (job.status === "running" && job.waiting_because) say(job.waiting_because);
      if (job.status === "failed") reject(new Error(`${job.failure.detail} ${job.failure.hint}`));
      if (job.status === "cancelled") reject(new Error("The job was cancelled."));
      if (job.status === "succeeded") resolve();
    };
    const asking = setInterval(look, 3000);
    const end = (act) => (value) => {
      stream.close();
      clearInterval(asking);
      act(value);
    };
    [resolve, reject] = [end(resolve), end(reject)];
    stream.addEventListener("preview", (event) => {
      present(id, JSON.parse(event.data).result, mine, { first: true }).catch(reject);
    });
    stream.addEventListener("state", (event) => {
      const state = JSON.parse(event.data).status;
      if (mine !== current) return resolve();
      if (state === "running") say("Attacking…");
      if (state === "succeeded") resolve();
      else if (["failed", "cancelled"].includes(state)) look().catch(reject);
    });
  });
}

/** Show a finished job, unless something else was asked for meanwhile. */
async function open(id, mine, start) {
  if (running !== id) say("Loading the result…"); // megabytes, of large images
  const answer = await fetch(at(`/api/jobs/${id}/result`));
  if (mine !== current) return;
  if (!answer.ok) return problem(answer);
  const result = await answer.json();
  if (result.kind !== "explain") return say("That job is no live attack.", true);
  if (!result.attacks) return say("An earlier version of the lab left this result, in a form that is not read any more. Attack the image again.", true);
  await present(id, result, mine, { start: start?.(result), archive: at(`/api/live/${id}/reproduction.zip`) });
  if (mine === current) say("");
}

/** Ids of the models that the page knows, in the order in which they choose their colours. */
const order = () => settings.models.toSorted((one, other) => one.seniority - other.seniority || (one.id < other.id ? -1 : 1)).map(({ id }) => id);

/** Show a result, or its first part; what was chosen in that stays. */
async function present(id, result, mine, { start = {}, ...options }) {
  if (mine !== current) return;
  const again = shown?.job === id;
  const of = image;
  await show(viewer, result, { start: again ? { ...start, map: shown.map, on: shown.on } : start, target: (name) => aimAt(name === aimed() ? "" : name), job: id, order: order(), ...options });
  if (mine !== current) return;
  shownOf = of;
  document.getElementById("waiting").hidden = true;
  if (running === id && !again) viewer.focus({ preventScroll: innerWidth > 960 });
}

/** What the viewer shows: a job, and where in it. */
let shown = null;
/** The image of which that is. */
let shownOf = null;

const nearest = (numbers, wanted) => numbers.reduce((best, number, i) => (Math.abs(number - wanted) < Math.abs(numbers[best] - wanted) ? i : best), 0);

/** The same place in another result of the same image at the same budgets. */
const stay = (before) => (result) => {
  if (String(before?.result.budgets) !== String(result.budgets)) return {};
  return { ...before, column: nearest(result.iterates, before.result.iterates[before.column]) };
};

// The address says what is shown.
viewer.addEventListener("moved", ({ detail }) => {
  const { job, result, row, column, map, on, picture, tab } = (shown = detail);
  const facts = new URLSearchParams({ job, eps: budget(result, result.budgets[row]), step: result.iterates[column], map });
  if (on !== null) facts.set("on", on);
  if (picture !== "shown") facts.set("picture", picture);
  if (tab !== "columns") facts.set("tab", tab);
  history.replaceState(null, "", at(`/live?${facts}`).replaceAll("%2F", "/"));
});

/** Where an address begins in a result. */
const asked = (facts) => (result) => {
  const start = { map: facts.get("map"), tab: facts.get("tab"), picture: facts.get("picture") === "changes" ? "changes" : "shown" };
  const [number, of] = (facts.get("eps") ?? "").split("/").map(Number);
  if (facts.get("eps") && Number.isFinite(number)) start.row = nearest(result.budgets, of ? number / of : number);
  if (facts.get("step")) start.column = nearest(result.iterates, Number(facts.get("step")) || 0);
  start.on = facts.has("on") ? Number(facts.get("on")) : null;
  return start;
};

/** An earlier job, as its address says, with its image, which can be attacked again whatever became of it. */
async function restore(id, facts) {
  const mine = ++current;
  const answer = await fetch(at(`/api/jobs/${id}`));
  if (!answer.ok) return problem(answer);
  const job = await answer.json();
  const picture = await fetch(at(`/api/live/${id}/image.png`));
  if (picture.ok && mine === current) await take(await picture.blob(), job.title.replace(/^Explain /, ""), field("label").value);
  if (job.status !== "succeeded") await finished(id, mine);
  if (mine === current) await open(id, mine, asked(facts));
}

beginModels();
followNorm();
summarise();
if (form.dataset.job) restore(form.dataset.job, new URLSearchParams(location.search)).catch((error) => say(error.message, true));
else if (form.dataset.given) takeOwn(form.dataset.given, field("label").value);
const example = document.getElementById("example");
if (example) new Showcase(example).show(example.dataset.results);
