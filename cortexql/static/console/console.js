"use strict";
// Small helps: "/" goes to the search, copy buttons, choosing all rows, a choice that outlives a live update, questions
// before what cannot be undone, times in the reader's zone, and sums of what is left to give.
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
    const search = document.querySelector('#search, form[role="search"] input');
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey || !search) return;
    if (event.target.matches("input, textarea, select, [contenteditable]")) return;
    event.preventDefault();
    search.focus();
    search.select();
  });
  document.addEventListener("click", (event) => {
    const boxes = event.target.closest?.("[data-tick]")?.closest("fieldset").querySelectorAll('input[type="checkbox"]');
    if (!boxes) return;
    const all = [...boxes].every((box) => box.checked);
    for (const box of boxes) box.checked = !all;
  });
  // Enter in such a field presses the button beside it, not the form's first.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !event.target.matches("[data-enter]")) return;
    event.preventDefault();
    event.target.parentElement.querySelector("button").click();
  });
  // What the chosen rows are about, each once, one a line.
  const ofChosen = (form) => [
    ...new Set([...boxes(form)].filter((box) => box.checked).map((box) => box.dataset.defanged)),
  ].join("\n");
  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("[data-copy], [data-copy-chosen]");
    if (!button) return;
    const text = button.dataset.copy ?? ofChosen(button.form);
    if (navigator.clipboard) await navigator.clipboard.writeText(text);
    else copyWithoutTls(text);
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
  // Pages tell times in UTC, and are cached by nobody: the reader's zone is known here alone.
  const localize = () => {
    for (const time of document.querySelectorAll("time[datetime]:not([data-local])")) {
      time.dataset.local = "";
      const moment = new Date(time.dateTime);
      const here = moment.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });
      if (time.matches("[data-whole]")) {
        time.title = time.textContent;
        time.textContent = here;
      } else {
        if (time.matches("[data-clock]")) time.textContent = moment.toTimeString().slice(0, 8);
        time.title = `${here} (${time.title})`;
      }
    }
  };
  document.addEventListener("submit", (event) => {
    const question = event.submitter?.dataset.confirm;
    if (question && !confirm(question)) event.preventDefault();
  });
  // What is left to give: the whole less the parts.
  const count = (form) => {
    const whole = form.querySelector("[data-whole-of]");
    const left = form.querySelector("[data-left]");
    const parts = [...form.querySelectorAll("[data-part]")].map((field) => Number(field.value) || 0);
    const rest = (Number(whole.value) || 0) - parts.reduce((sum, part) => sum + part, 0);
    left.textContent = rest.toLocaleString("en");
    left.classList.toggle("text-danger", rest < 0);
  };
  document.addEventListener("input", (event) => {
    const form = event.target.closest?.("form[data-split]");
    if (form) count(form);
  });
  // A menu closes where something else is pressed, and by Escape; a live update leaves it open.
  const menus = () => document.querySelectorAll(".menu[open]");
  document.addEventListener("click", (event) => {
    for (const menu of menus()) if (!menu.contains(event.target)) menu.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const menu of menus()) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
  // A page that refuses says why: where the keyboard is, and where a screen reader begins.
  const attend = (element) => {
    if (!element.matches("a[href], button, input, select, textarea")) element.tabIndex = -1;
    element.focus();
  };
  const refusal = document.querySelector('main [role="alert"]');
  if (refusal) attend(refusal);
  // After a swap the keyboard is where it was: at what asked, at what stands in its place now, or at what was refused.
  let asking = null;
  const named = (element) => element.id || element.getAttribute("aria-label") || element.textContent.trim();
  document.addEventListener("htmx:beforeRequest", (event) => {
    asking = event.detail.elt.contains(document.activeElement) ? document.activeElement : null;
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    if (!asking || document.activeElement !== document.body) return;
    const part = event.detail.elt;
    const alike = [...part.querySelectorAll(asking.tagName)].find((one) => named(one) === named(asking));
    attend(part.querySelector('[role="alert"]') ?? (asking.isConnected ? asking : (alike ?? part)));
    asking = null;
  });
  // Refusals come in the server's words; that it is silent is said here, until it answers again.
  document.addEventListener("htmx:sendError", () => {
    const told = Object.assign(document.createElement("div"), { className: "alert alert-danger silent", textContent: "The server does not answer. Try again." });
    document.getElementById("notices")?.replaceChildren(told);
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.successful) document.querySelector("#notices .silent")?.remove();
  });
  let kept = new Set();
  let isOpen = false;
  document.addEventListener("htmx:beforeSwap", () => {
    isOpen = menus().length > 0;
    kept = new Set([...document.querySelectorAll('form[data-choice] input[name="id"]:checked')].map((box) => box.value));
  });
  document.addEventListener("htmx:load", () => {
    localize();
    if (isOpen) for (const menu of document.querySelectorAll(".menu")) menu.open = true;
    for (const form of forms()) {
      for (const box of boxes(form)) if (kept.has(box.value)) box.checked = true;
      show(form);
    }
  });
  forms().forEach(show);
  localize();
})();
