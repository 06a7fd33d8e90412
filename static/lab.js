// Small behaviours that every page shares.
import { proof } from "./address.js";

// A form with data-confirm asks before it is sent; a sent form cannot be sent twice.
document.addEventListener("submit", (event) => {
  const form = event.target;
  const question = event.submitter?.dataset.confirm ?? form.dataset.confirm;
  if (question && !window.confirm(question)) {
    event.preventDefault();
    return;
  }
  if (form.method === "post" && !event.defaultPrevented) {
    for (const button of form.querySelectorAll("button")) button.setAttribute("aria-busy", "true");
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = "yes";
  }
});

// Coming back by the browser's back button finds the form usable again.
window.addEventListener("pageshow", () => {
  for (const form of document.querySelectorAll("form[data-sent]")) {
    delete form.dataset.sent;
    for (const button of form.querySelectorAll("button")) button.removeAttribute("aria-busy");
  }
});

// A button that copies the text below it, and says so.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.parentElement.nextElementSibling.textContent);
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
});

// Of a file that is not sent itself, the name goes.
document.addEventListener("htmx:configRequest", ({ detail }) => {
  Object.assign(detail.headers, proof());
  for (const [name, value] of [...detail.formData]) if (value instanceof File) detail.formData.set(name, value.name);
});
