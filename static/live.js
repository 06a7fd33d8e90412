// Sends an image with an attack, follows the job, and hands the result to the view.
import { show } from "./explain.js";

const settings = JSON.parse(document.getElementById("settings").textContent);
const form = document.getElementById("live");
const status = document.getElementById("status");
const button = document.getElementById("attack");
const input = document.getElementById("image");
const drop = document.getElementById("drop");
const preview = document.getElementById("preview");
let image = null;
let current = 0;

/** The control of a field; of radio buttons the chosen one. */
const field = (name) => form.querySelector(`[name$="${name}"]:checked`) ?? form.querySelector(`[name$="${name}"]:not([type=hidden], [type=search])`);

// The image: chosen, dropped, pasted, or one of the lab's own.

function take(file, name) {
  if (!file) return;
  image = new File([file], name ?? file.name, { type: file.type });
  if (preview.src) URL.revokeObjectURL(preview.src);
  preview.src = URL.createObjectURL(file);
  preview.hidden = false;
  complain("image", "");
}

input.addEventListener("change", () => {
  take(input.files[0]);
  field("label").value = "";
  mark(null);
});
for (const kind of ["dragenter", "dragover"]) {
  drop.addEventListener(kind, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  take(event.dataTransfer.files[0]);
  field("label").value = "";
  mark(null);
});
document.addEventListener("paste", (event) => {
  const file = [...event.clipboardData.files].find((one) => one.type.startsWith("image/"));
  if (file) take(file, file.name || "pasted.png");
});

function mark(chosen) {
  for (const sample of form.querySelectorAll(".sample")) sample.setAttribute("aria-pressed", String(sample === chosen));
}

/** Take one of the lab's own images; `label` is its class, if the models know it. */
async function takeOwn(address, label, chosen = null) {
  const answer = await fetch(address);
  if (!answer.ok) return say("This sample cannot be read.", true);
  take(await answer.blob(), label ? `${label}.png` : address.split("/").at(-1));
  field("label").value = classesOfTeacher().includes(label) ? label : "";
  input.value = "";
  mark(chosen);
}

for (const sample of form.querySelectorAll(".sample")) {
  sample.addEventListener("click", () => takeOwn(sample.dataset.image, sample.dataset.class, sample));
}
if (form.dataset.given) takeOwn(form.dataset.given, field("label").value);

// Classes and samples follow the teacher.

const numberOfTeacher = () => settings.classes_of[field("teacher").value];
const classesOfTeacher = () => settings.classes[numberOfTeacher()] ?? [];

/** A model that a search brought into the form: the page does not know its classes yet. */
async function learnTeacher(id) {
  const answer = await fetch(`/api/models/${id}`);
  if (!answer.ok) return;
  const { classes } = (await answer.json()).card;
  const same = settings.classes.findIndex((known) => JSON.stringify(known) === JSON.stringify(classes));
  settings.classes_of[id] = same < 0 ? settings.classes.push(classes) - 1 : same;
}

async function followTeacher() {
  const id = field("teacher").value;
  if (id && !(id in settings.classes_of)) await learnTeacher(id);
  const options = classesOfTeacher().map((name) => Object.assign(document.createElement("option"), { value: name }));
  document.getElementById("classes").replaceChildren(...options);
  for (const set of form.querySelectorAll("[data-classes]")) set.hidden = set.dataset.classes !== String(numberOfTeacher());
}

function summarise() {
  const parts = [field("method"), field("norm")].map((one) => one.closest("label").querySelector("span").firstChild.textContent.trim());
  if (!field(".steps").closest(".field").hidden) parts.push(`${field(".steps").value} steps`);
  const most = field("max_epsilon");
  parts.push(`up to ${most.value}${most.dataset.unit ?? ""}`, `on the ${field("crafted_on").value}`);
  document.getElementById("attack-summary").textContent = parts.join(", ");
}

for (const name of ["label", "target_class"]) field(name).setAttribute("list", "classes");
form.addEventListener("change", summarise);
field("teacher").addEventListener("change", followTeacher);
followTeacher();
summarise();

// Sending and following.

function say(text, bad = false) {
  status.textContent = text;
  status.classList.toggle("bad", bad);
}

/** Put a message at a field; an empty one takes it away. False when there is no such field. */
function complain(name, message) {
  const control = name === "image" ? input : field(name);
  if (!control) return false;
  const holder = control.closest(".field, .drop");
  const place = holder.querySelector(".error") ?? holder.appendChild(Object.assign(document.createElement("span"), { className: "error" }));
  place.textContent = message;
  place.hidden = !message;
  if (message) control.setAttribute("aria-invalid", "true");
  else control.removeAttribute("aria-invalid");
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
  const unplaced = (body.errors ?? []).filter((error) => !complain(error.field.split(".").at(-1), error.message));
  const placed = (body.errors ?? []).length > unplaced.length;
  say(placed && !unplaced.length ? "Something in the form cannot be taken." : `${body.detail} ${body.hint ?? ""}`, true);
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  for (const wrong of form.querySelectorAll("[aria-invalid]")) complain(wrong.name.split(".").at(-1), "");
  if (!image) return complain("image", "Choose an image first.");
  const mine = ++current;
  button.setAttribute("aria-busy", "true");
  say("Sending the image…");
  try {
    const answer = await fetch("/api/live", { method: "POST", body: entries() });
    if (!answer.ok) return await problem(answer);
    const job = await answer.json();
    await finished(job.id, mine);
    if (mine === current) await open(job.id);
  } catch (error) {
    if (mine === current) say(error.message || "The lab does not answer.", true);
  } finally {
    if (mine === current) button.removeAttribute("aria-busy");
  }
});

/** Resolves when the job has succeeded; rejects with what went wrong. */
function finished(id, mine) {
  return new Promise((resolve, reject) => {
    const stream = new EventSource(`/api/jobs/${id}/events`);
    const look = async () => {
      const job = await (await fetch(`/api/jobs/${id}`)).json();
      if (mine !== current) return stream.close();
      if (job.status === "queued") say(`Waiting: ${job.waiting_because ?? "a worker is about to take it."}`);
      if (job.status === "failed") reject(new Error(`${job.failure.detail} ${job.failure.hint}`));
      if (job.status === "cancelled") reject(new Error("The job was cancelled."));
      if (job.status === "succeeded") resolve();
    };
    const timer = setInterval(look, 3000);
    const end = (act) => (value) => {
      stream.close();
      clearInterval(timer);
      act(value);
    };
    [resolve, reject] = [end(resolve), end(reject)];
    stream.addEventListener("progress", (event) => {
      const { phase } = JSON.parse(event.data);
      if (mine === current) say(`${phase}…`);
    });
    stream.addEventListener("state", (event) => {
      const state = JSON.parse(event.data).status;
      if (state === "running" && mine === current) say("Attacking…");
      if (["succeeded", "failed", "cancelled"].includes(state)) look().catch(reject);
    });
  });
}

/** Show a finished job. */
async function open(id) {
  const [result, record] = await Promise.all([fetch(`/api/jobs/${id}/result`), fetch(`/jobs/${id}/record.json`)]);
  if (!result.ok || !record.ok) return problem(result.ok ? record : result);
  const body = await result.json();
  if (body.kind !== "explain") return say("That job is no live attack.", true);
  history.replaceState(null, "", `/live?job=${id}`);
  say("");
  await show(id, body, (await record.json()).figures);
}

if (form.dataset.job) {
  const id = form.dataset.job;
  const mine = ++current;
  const answer = await fetch(`/api/jobs/${id}`);
  if (!answer.ok) problem(answer);
  else if ((await answer.json()).status === "succeeded") open(id);
  else finished(id, mine).then(() => open(id)).catch((error) => say(error.message, true));
}
