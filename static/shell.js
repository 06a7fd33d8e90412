// The frame of every page: colours, and what the keyboard does.

function remember(name, value) {
  try {
    if (value) localStorage.setItem(name, value);
    else localStorage.removeItem(name);
  } catch {
    // Nothing is kept; it holds for this page.
  }
}

function remembered(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

// Colours: the system's, light, dark, and so on round.

const THEMES = { "": "◐ Auto", light: "○ Light", dark: "● Dark" };
const theme = document.getElementById("theme");

function showTheme() {
  theme.textContent = THEMES[document.documentElement.dataset.theme ?? ""];
  theme.setAttribute("aria-label", `Colours: ${theme.textContent.slice(2)}`);
}

function nextTheme() {
  const names = Object.keys(THEMES);
  const next = names[(names.indexOf(document.documentElement.dataset.theme ?? "") + 1) % names.length];
  if (next) document.documentElement.dataset.theme = next;
  else delete document.documentElement.dataset.theme;
  remember("theme", next);
  showTheme();
  document.dispatchEvent(new Event("lab:theme"));
}

theme.hidden = false;
theme.addEventListener("click", nextTheme);
showTheme();

// Shortcuts: a key, or g and then a key for a page of the menu.

const dialog = document.getElementById("shortcuts");
const on = document.getElementById("shortcuts-on");
const search = () => [...document.querySelectorAll("main input[type=search]")].find((one) => one.checkVisibility());
const own = {
  "?": ["This list", () => dialog.showModal()],
  "/": ["Search on this page", () => search()?.focus()],
  t: ["Other colours", nextTheme],
};
const pages = {};
for (const link of document.querySelectorAll("header.top nav a")) {
  const letter = [...link.textContent.toLowerCase()].find((one) => !(one in pages));
  if (letter) pages[letter] = link;
}

function row(keys, words) {
  const line = document.createElement("tr");
  const first = line.appendChild(document.createElement("td"));
  keys.forEach((key, at) => {
    if (at) first.append(" then ");
    first.appendChild(document.createElement("kbd")).textContent = key;
  });
  line.appendChild(document.createElement("td")).textContent = words;
  return line;
}

dialog.querySelector("tbody").replaceChildren(
  ...Object.entries(own).map(([key, [words]]) => row([key], words)),
  ...Object.entries(pages).map(([letter, link]) => row(["g", letter], link.textContent)),
);
on.checked = remembered("shortcuts") !== "off";
on.addEventListener("change", () => remember("shortcuts", on.checked ? "" : "off"));
const keys = document.getElementById("keys");
keys.hidden = false;
keys.addEventListener("click", () => dialog.showModal());

let going = 0;
document.addEventListener("keydown", (event) => {
  const typing = event.target.closest("input, textarea, select, [contenteditable], dialog, [role=slider]");
  // A dialog that was just closed holds the focus for a moment: nobody types in what is out of sight.
  if (!on.checked || typing?.checkVisibility() || event.ctrlKey || event.metaKey || event.altKey) return;
  const gone = Date.now() - going < 3000;
  going = 0;
  if (gone && pages[event.key]) pages[event.key].click();
  else if (event.key === "g") going = Date.now();
  else if (own[event.key]) own[event.key][1]();
  else return;
  event.preventDefault();
});
