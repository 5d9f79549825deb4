// What every page needs: the reader's time zone, the palette, keys, copy buttons, toasts.

import { askedPart } from "./asked_part.js";

const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
if (zone && !document.cookie.includes(`tidegate-zone=${zone}`)) {
  const secure = location.protocol === "https:" ? "; Secure" : "";
  document.cookie = `tidegate-zone=${zone}; path=/; max-age=31536000; SameSite=Lax${secure}`;
}

// A strip that is too long for a phone shows where one is.
for (const here of document.querySelectorAll(":is(.tabbar, .pills) [aria-current]")) {
  const strip = here.parentElement;
  strip.scrollLeft = here.offsetLeft - strip.offsetLeft - (strip.clientWidth - here.offsetWidth) / 2;
}

// A form that is shown again goes on at what is wrong with it, unless its button says where.
const again = document.querySelector("main[data-again]:not(:has([autofocus]))");
const wrong = again?.querySelector("[aria-invalid=true]") ?? again?.querySelector("[role=alert]");
if (wrong) {
  if (wrong.matches("[role=alert]")) wrong.tabIndex = -1;
  wrong.focus();
}

const palette = document.getElementById("palette");

function openPalette(event) {
  if (!palette) return;
  event?.preventDefault();
  palette.showPopover();
  const field = palette.querySelector("input");
  field.focus();
  field.select();
  search("");
}

let asked = 0;
async function search(text) {
  const mine = ++asked;
  const form = palette.querySelector("form");
  const part = await askedPart(`${form.action}?part=1&q=${encodeURIComponent(text)}`);
  if (mine === asked) palette.querySelector("[data-results]").replaceChildren(...part);
}

if (palette) {
  for (const link of document.querySelectorAll("[data-opens=palette]")) {
    link.addEventListener("click", openPalette);
  }
  let waiting = 0;
  palette.querySelector("input").addEventListener("input", (event) => {
    clearTimeout(waiting);
    waiting = setTimeout(() => search(event.target.value), 120);
  });
  palette.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      // A search field takes it for itself: it is emptied, and in Safari the palette stays for ever.
      event.preventDefault();
      return palette.hidePopover();
    }
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const links = [...palette.querySelectorAll("a")];
    if (!links.length) return;
    event.preventDefault();
    const at = links.indexOf(document.activeElement);
    const next = event.key === "ArrowDown" ? at + 1 : at - 1;
    (links[next] ?? palette.querySelector("input")).focus();
  });
  // Back may bring the page as it was left, and then without what led away from it.
  addEventListener("pagehide", () => palette.hidePopover());
  palette.querySelector("form").addEventListener("submit", (event) => {
    const first = palette.querySelector("[data-results] a");
    if (!first) return;
    event.preventDefault();
    location.assign(first.href);
  });
}

// Single letters act only while no field has the focus, and can be switched off in the settings.
const letters = document.documentElement.dataset.keys !== "off";
let going = false;

function typing(target) {
  return target.closest("input, textarea, select, [contenteditable]") !== null;
}

function follow(selector) {
  const link = document.querySelector(selector);
  if (!link) return false;
  link.click();
  return true;
}

document.addEventListener("keydown", (event) => {
  if ((event.metaKey || event.ctrlKey) && event.key.toLowerCase() === "k") return openPalette(event);
  if ((event.metaKey || event.ctrlKey) && event.key === "Enter") {
    const form = event.target.closest?.("form");
    if (form && form.method === "post" && !form.hasAttribute("data-hold-form")) form.requestSubmit();
    return;
  }
  if (event.metaKey || event.ctrlKey || event.altKey || typing(event.target) || !letters) return;
  if (going) {
    going = false;
    if (follow(`[data-go="${CSS.escape(event.key)}"]`)) event.preventDefault();
    return;
  }
  if (event.key === "/") return openPalette(event);
  if (event.key === "?") {
    document.getElementById("keys")?.showPopover();
    return;
  }
  if (event.key === "g") {
    going = true;
    setTimeout(() => (going = false), 1200);
    return;
  }
  if (event.key === "j" || event.key === "ArrowDown" || event.key === "ArrowUp") {
    const rows = [...document.querySelectorAll(".flags .name > a, .tbl tbody a:first-of-type")];
    if (!rows.length) return;
    const at = rows.indexOf(document.activeElement);
    if (event.key !== "j" && at < 0) return;
    event.preventDefault();
    (rows[event.key === "ArrowUp" ? at - 1 : at + 1] ?? rows[at])?.focus();
    return;
  }
  if (follow(`[data-key="${CSS.escape(event.key)}"]`)) event.preventDefault();
});

// At the document: a live part may bring a new button.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
  button.setAttribute("aria-label", "Copied");
});

for (const toast of document.querySelectorAll(".toast")) {
  let leaving = 0;
  const leave = () => (leaving = setTimeout(() => toast.remove(), 8000));
  const stay = () => clearTimeout(leaving);
  for (const name of ["pointerenter", "focusin"]) toast.addEventListener(name, stay);
  for (const name of ["pointerleave", "focusout"]) toast.addEventListener(name, leave);
  leave();
}
