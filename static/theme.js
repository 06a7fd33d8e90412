// Runs before the page is drawn: the colours that the reader chose, else those of the system.
try {
  const chosen = localStorage.getItem("theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // A browser that keeps nothing keeps the system's colours.
}
