// Hides the fields that mean nothing for what is chosen elsewhere in the form.
// A hidden field is disabled too: it is not sent, and its default holds.

function value(form, name) {
  const controls = [...form.querySelectorAll(`[name="${CSS.escape(name)}"]:not([type="hidden"])`)];
  if (controls[0]?.type === "radio") return controls.find((one) => one.checked)?.value;
  return controls[0]?.type === "checkbox" ? String(controls[0].checked) : controls[0]?.value;
}

function update(form) {
  for (const field of form.querySelectorAll("[data-when]")) {
    const meant = value(form, field.dataset.when) === field.dataset.is;
    field.hidden = !meant;
    for (const control of field.querySelectorAll("input, select, fieldset")) control.disabled = !meant;
  }
  for (const group of form.querySelectorAll("details")) {
    const fields = [...group.querySelectorAll(".field")];
    group.hidden = fields.length > 0 && fields.every((field) => field.hidden);
    const shown = fields.filter((field) => !field.hidden);
    const names = shown.map((field) => field.querySelector("legend, label").textContent.trim());
    const summary = group.querySelector("summary small:not([id])");
    if (summary) summary.textContent = names.join(", ");
  }
}

for (const form of document.querySelectorAll("form")) {
  if (!form.querySelector("[data-when]")) continue;
  form.addEventListener("change", () => update(form));
  window.addEventListener("pageshow", () => update(form));
  update(form);
}

// What is wrong is brought into view, and the keyboard starts there.
document.querySelector("[aria-invalid=true]")?.focus();
