// What the tab of an unfinished job shows: how far it is, and, where it was asked to, that it is over.

const root = document.querySelector("[data-job]");
const asked = `notify:${root.dataset.job}`;
const title = document.title;
const icon = document.getElementById("icon");
const own = getComputedStyle(document.documentElement).getPropertyValue("--student").trim();
const button = document.getElementById("notify");

/** The lab's icon becomes a ring that closes. */
function ring(share) {
  const length = 2 * Math.PI * 12;
  const circle = (stroke, rest) => `<circle cx="16" cy="16" r="12" fill="none" stroke="${stroke}" stroke-width="6" ${rest}/>`;
  const done = `stroke-dasharray="${share * length} ${length}" transform="rotate(-90 16 16)"`;
  const image = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">${circle("#8b96a0", 'opacity="0.4"')}${circle(own, done)}</svg>`;
  return `data:image/svg+xml,${encodeURIComponent(image)}`;
}

function showProgress() {
  const bar = root.querySelector("#state progress[value]");
  if (!bar) return;
  document.title = `${Math.floor(100 * bar.value)} % · ${title}`;
  icon.href = ring(bar.value);
}

function showAsked() {
  const yes = sessionStorage.getItem(asked) === "yes" && Notification.permission === "granted";
  button.textContent = yes ? "You will be told when it is over" : "Tell me when it is over";
  button.setAttribute("aria-pressed", String(yes));
}

if ("Notification" in window && Notification.permission !== "denied") {
  button.hidden = false;
  showAsked();
  button.addEventListener("click", async () => {
    const off = button.getAttribute("aria-pressed") === "true";
    if (off) sessionStorage.removeItem(asked);
    else if ((await Notification.requestPermission()) === "granted") sessionStorage.setItem(asked, "yes");
    showAsked();
  });
}

document.addEventListener("lab:over", (event) => {
  if (sessionStorage.getItem(asked) !== "yes" || Notification.permission !== "granted") return;
  sessionStorage.removeItem(asked);
  new Notification(title, { body: `It has ${event.detail}.`, tag: root.dataset.job });
});
document.addEventListener("htmx:afterSwap", showProgress);
showProgress();
