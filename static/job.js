// A job's page: its charts and log, and what its stream of events adds to them.
/* global htmx */
import { at } from "./address.js";
import { drawAll, extend } from "./charts.js";

const root = document.querySelector("[data-job]");
const id = root.dataset.job;
const log = document.getElementById("log");
const lines = log.querySelector("ol");
let last = 0;
let lastShown = 0;
let lastStep = 0;
let fetching = null;
const told = new Set();

// A table that is fetched anew stays where it was scrolled to; the keyboard stays by the ids of what it holds.
const scrolled = new Map();
for (const kind of ["htmx:beforeSwap", "htmx:oobBeforeSwap"]) {
  document.addEventListener(kind, (event) => {
    for (const part of event.target.querySelectorAll(".scroll[id]")) scrolled.set(part.id, part.scrollLeft);
  });
}
for (const kind of ["htmx:afterSwap", "htmx:oobAfterSwap"]) {
  document.addEventListener(kind, (event) => {
    for (const part of event.target.querySelectorAll(".scroll[id]")) part.scrollLeft = scrolled.get(part.id) ?? 0;
    if (event.target.querySelector("script[data-figures]")) drawAll(root, brought());
  });
}

/** Figures that came with the page, or with a part of it that was fetched anew. */
function brought() {
  return Object.assign({}, ...[...root.querySelectorAll("script[data-figures]")].map((block) => JSON.parse(block.textContent)));
}

/** A warning stands above the charts too: the latest, and how many came before it. */
function warn(text) {
  const note = document.getElementById("warnings");
  if (!note) return;
  const earlier = note.hidden ? 0 : Number(note.dataset.count);
  note.dataset.count = earlier + 1;
  note.hidden = false;
  note.querySelector("[data-latest]").textContent = text;
  note.querySelector("[data-earlier]").textContent = earlier ? ` ${earlier} earlier warning${earlier > 1 ? "s stand" : " stands"} in the log.` : "";
}

function addLine(line) {
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 24;
  const item = document.createElement("li");
  item.className = line.level;
  const time = document.createElement("time");
  const at = new Date(line.at * 1000);
  time.dateTime = at.toISOString();
  time.textContent = at.toLocaleTimeString([], { hour12: false });
  const text = document.createElement("span");
  text.textContent = line.level === "info" ? line.text : `${line.level}: ${line.text}`;
  item.append(time, text);
  lines.querySelector("li.muted")?.remove();
  lines.append(item);
  if (line.level === "warning") warn(line.text);
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function showReadings(values) {
  const parts = [];
  if ("images_per_s" in values) parts.push(`${Math.round(values.images_per_s).toLocaleString("en")} images/s`);
  if ("learning_rate" in values) parts.push(`learning rate ${Number(values.learning_rate.toPrecision(3))}`);
  if (!parts.length) return;
  const place = document.getElementById("readings");
  place.textContent = parts.join(" · ");
  place.hidden = false;
}

/** Show everything up to now. What the stream brought meanwhile is not in the answer: ask again. */
async function load() {
  const answer = await fetch(at(`/jobs/${id}/record.json`));
  if (!answer.ok) throw new Error(`The record answered ${answer.status}.`);
  const record = await answer.json();
  if (record.seq < lastShown) return setTimeout(reload);
  last = Math.max(last, record.seq);
  lastShown = record.seq;
  if (record.log.length) lines.replaceChildren();
  const note = document.getElementById("warnings");
  if (note) note.hidden = true;
  record.log.forEach(addLine);
  showReadings(record.readings);
  await drawAll(root, { ...record.figures, ...brought() });
  for (const part of root.querySelectorAll('[hx-trigger="lab:figures"]')) htmx.trigger(part, "lab:figures");
  lastStep = Math.max(0, ...Object.values(record.figures).flatMap((f) => f.data.map((t) => t.x?.at(-1) ?? 0)));
  const empty = document.getElementById("no-charts");
  if (empty) empty.hidden = Object.keys(record.figures).length > 0;
}

/** Load again, at most once at a time and once a second. */
function reload() {
  fetching ??= new Promise((done) => setTimeout(done, 1000)).then(load).finally(() => (fetching = null));
}

/** Lengthen the lines that are drawn; a number that has none yet needs a new figure. */
function addPoint(body) {
  showReadings(body.values);
  // A step that goes back follows a lost worker: what came after it is replaced.
  if (body.series !== "step" || body.step <= lastStep) return reload();
  lastStep = body.step;
  const traces = [...root.querySelectorAll(".plot")].flatMap((plot) =>
    (plot.figure?.data ?? []).map((trace, index) => ({ plot, index, name: trace.meta })));
  for (const [name, value] of Object.entries(body.values)) {
    const found = traces.find((trace) => trace.name === `step:${name}`);
    if (!found) return reload();
    extend(found.plot, found.index, lastStep, value);
  }
}

/** Let a part of the page fetch itself anew, once in its pace (ms); no news is lost, the last one least of all. */
function tell(part) {
  if (told.has(part)) return;
  told.add(part);
  setTimeout(() => {
    told.delete(part);
    htmx.trigger(part, "lab:news");
  }, part.dataset.pace);
}

function follow() {
  const stream = new EventSource(at(`/api/jobs/${id}/events?after=${last}`));
  const on = (kind, act) => stream.addEventListener(kind, (event) => {
    const seq = Number(event.lastEventId);
    if (seq <= last) return;
    last = seq;
    if (kind === "metrics" || kind === "log") lastShown = seq;
    act(JSON.parse(event.data));
  });
  const news = () => root.querySelectorAll("[data-pace]").forEach(tell);
  on("progress", news);
  on("log", addLine);
  on("metrics", addPoint);
  on("state", (body) => {
    news();
    // Said once a change: the state itself is fetched anew every second, which nobody could listen to.
    document.getElementById("announced").textContent = `The job is ${body.status}.`;
    if (["succeeded", "failed", "cancelled"].includes(body.status)) {
      stream.close();
      const word = body.status === "cancelled" ? "been cancelled" : body.status;
      document.dispatchEvent(new CustomEvent("lab:over", { detail: word }));
      window.location.reload();
    }
  });
}

await load();
if ("unfinished" in root.dataset) follow();
