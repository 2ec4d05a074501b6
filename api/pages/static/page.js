/* Keys, and the few things that a form alone cannot do. Without scripts the page works all the same. */
(() => {
  "use strict";
  const $ = (selector, within = document) => within.querySelector(selector);
  const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];
  const typing = (target) => target.closest?.("input:not([type=checkbox],[type=radio],[type=range]), textarea, select, [contenteditable]");
  let before = "";

  /* Text boxes grow with what is written. */
  const grow = (box) => { box.rows = Math.min(12, Math.max(2, box.value.split("\n").length + 1)); };

  /* What needs ticks is off until there are some. */
  const ticked = (form) => {
    const boxes = $$("input[type=checkbox][name=item]", form), count = boxes.filter((box) => box.checked).length;
    const button = $("[data-needs-ticks]", form), told = $("[data-ticked]", form);
    if (button) button.disabled = !count || (!("all" in form.dataset) && count === boxes.length);
    if (told) told.textContent = count || "";
  };

  const move = (step) => {
    const rows = $$("[data-row]"), at = rows.indexOf(document.activeElement?.closest?.("[data-row]"));
    const next = rows[at < 0 ? (step > 0 ? 0 : rows.length - 1) : at + step];
    if (next) { next.focus(); next.scrollIntoView({ block: "nearest" }); }
    return Boolean(next);
  };

  const press = (name) => { const found = $(`[data-key~="${CSS.escape(name)}"]`); if (found && !found.disabled) { found.click(); return true; } return false; };

  const onKey = (event) => {
    if (event.isComposing || event.altKey) return;
    if ((event.ctrlKey || event.metaKey) && event.key === "Enter") {
      const form = event.target.closest?.("form");
      if (form) { event.preventDefault(); form.requestSubmit(); }
      return;
    }
    if (event.ctrlKey || event.metaKey) return;
    if (event.key === "Escape" && typing(event.target)) { event.target.blur(); return; }
    if (typing(event.target) || $("dialog[open]") || event.repeat) return;
    /* Space presses what somebody has gone to by keys; after a click with a mouse it is the shortcut. */
    if (event.key === " " && event.target.closest?.("button, a, summary, input") && event.target.matches(":focus-visible")) return;
    /* By the place of the key, so that a Korean keyboard works too. */
    const letter = /^Key[A-Z]$/.test(event.code) ? event.code.slice(3).toLowerCase() : event.key;
    const after = before;
    before = "";
    let done = false;
    if (event.key === "?") { $("#keys")?.showModal(); done = true; }
    else if (event.key === "/") { const box = $("[data-search]"); if (box) { box.focus(); box.select(); done = true; } }
    else if (after === "g") { const link = $(`[data-go="${CSS.escape(letter)}"]`); if (link) { link.click(); done = true; } }
    else if (press(event.key === " " ? "Space" : letter)) done = true;
    else if (letter === "g") before = "g";
    else if (letter === "j") done = move(1);
    else if (letter === "k") done = move(-1);
    if (done) event.preventDefault();
  };

  const prepare = (within) => {
    $$("[data-grow]", within).forEach(grow);
    $$("[data-ticks]", within).forEach(ticked);
  };

  document.addEventListener("keydown", onKey);
  document.addEventListener("input", (event) => {
    if (event.target.matches("[data-grow]")) grow(event.target);
  });
  document.addEventListener("change", (event) => {
    const form = event.target.closest("[data-ticks]");
    if (form) ticked(form);
  });
  document.addEventListener("click", (event) => {
    const opener = event.target.closest("[data-open]");
    if (opener) document.getElementById(opener.dataset.open)?.showModal();
    const odd = event.target.closest("[data-tick-odd]");
    if (odd) {
      const form = odd.closest("form");
      $$(".odd input[name=item]", form).forEach((box) => { box.checked = true; });
      ticked(form);
    }
    if (event.target.matches("dialog")) event.target.close();
  });
  document.addEventListener("htmx:beforeRequest", (event) => {
    /* What asks by itself, every second, is no answer to what went wrong. */
    if (!event.target.matches('[hx-trigger^="every"]')) $("#alert")?.replaceChildren();
  });
  document.addEventListener("htmx:sendError", () => {
    const alert = $("#alert"), text = document.body.dataset.offline;
    if (alert && text) { alert.textContent = text; alert.className = "notice bad"; }
  });
  /* What is refused before the page is asked is told for programs. */
  document.addEventListener("htmx:beforeSwap", (event) => {
    const { xhr } = event.detail, alert = $("#alert");
    if (!alert || !xhr.getResponseHeader("content-type")?.includes("json")) return;
    event.detail.shouldSwap = false;
    const told = document.createElement("p");
    told.className = "notice bad";
    told.textContent = xhr.status === 503 ? document.body.dataset.busy : `${document.body.dataset.refused} ${JSON.parse(xhr.responseText).detail}`;
    alert.replaceChildren(told);
  });
  document.addEventListener("htmx:load", (event) => prepare(event.detail.elt));
  document.addEventListener("DOMContentLoaded", () => {
    prepare(document);
    $(".rooms [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });
  });
})();
