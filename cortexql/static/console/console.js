"use strict";
// Small helps: "/" goes to the search, copy buttons, choosing all rows, and a choice that outlives a live update.
(() => {
  const boxes = (form) => form.querySelectorAll('input[name="id"]');
  const show = (form) => {
    const chosen = [...boxes(form)].filter((box) => box.checked).length;
    form.dataset.chosen = chosen;
    for (const button of form.querySelectorAll("[data-needs-choice]")) button.disabled = chosen === 0;
    const count = form.querySelector("[data-count]");
    if (count) count.textContent = chosen ? `${chosen} chosen` : "Choose jobs to act on";
    const all = form.querySelector("[data-all]");
    if (all) all.checked = chosen > 0 && chosen === boxes(form).length;
  };
  const forms = () => document.querySelectorAll("form[data-choice]");

  document.addEventListener("change", (event) => {
    const form = event.target.closest?.("form[data-choice]");
    if (!form) return;
    if (event.target.matches("[data-all]")) for (const box of boxes(form)) box.checked = event.target.checked;
    show(form);
  });
  document.addEventListener("keydown", (event) => {
    const search = document.getElementById("search");
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || !search) return;
    if (event.target.matches("input, textarea, select, [contenteditable]")) return;
    event.preventDefault();
    search.focus();
    search.select();
  });
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-copy]");
    if (!button) return;
    if (navigator.clipboard) await navigator.clipboard.writeText(button.dataset.copy);
    else copyWithoutTls(button.dataset.copy);
    button.classList.add("copied");
    setTimeout(() => button.classList.remove("copied"), 1200);
  });
  // Browsers give the clipboard to https and localhost alone.
  const copyWithoutTls = (text) => {
    const field = document.body.appendChild(document.createElement("textarea"));
    field.value = text;
    field.select();
    document.execCommand("copy");
    field.remove();
  };
  // Times are told in UTC; the browser knows the reader's own.
  const localize = (root) => {
    for (const time of root.querySelectorAll("time[datetime]:not([data-local])")) {
      time.dataset.local = "";
      time.title = `${new Date(time.dateTime).toLocaleString()} (${time.title})`;
    }
  };
  let kept = new Set();
  document.addEventListener("htmx:beforeSwap", () => {
    kept = new Set([...document.querySelectorAll('form[data-choice] input[name="id"]:checked')].map((box) => box.value));
  });
  document.addEventListener("htmx:load", (event) => {
    localize(event.detail.elt);
    for (const form of forms()) {
      for (const box of boxes(form)) if (kept.has(box.value)) box.checked = true;
      show(form);
    }
  });
  forms().forEach(show);
  localize(document);
})();
