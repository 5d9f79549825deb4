// Moves a rule by its grip, its buttons, or Alt and an arrow key: the server makes the form anew.

import { wholePage } from "./whole_page.js";

const form = document.querySelector("form[data-rules-form]");
const EDGE = 60;
let busy = false;
let drag = null;

const sections = () => [...form.querySelectorAll("[data-rule]")];

function showGrips() {
  for (const grip of form.querySelectorAll("[data-does=grip]")) grip.hidden = false;
}

// Returns where the focus goes on: the same field or button of the rule, at its new place.
function again(focused, from, to) {
  const rule = form.querySelector(`[data-rule="${to}"]`);
  const same = focused.dataset.does
    ? rule.querySelector(`[data-does=${focused.dataset.does}]:not([disabled])`)
    : form.elements[focused.name?.replace(`rule-${from}-`, `rule-${to}-`)];
  return same instanceof HTMLElement && rule.contains(same)
    ? same
    : rule.querySelector("[data-does=grip]");
}

async function move(from, to) {
  if (busy || from === to || to < 0 || to >= sections().length) return;
  busy = true;
  try {
    const body = new URLSearchParams(new FormData(form));
    body.set("do", `move ${from} ${to}`);
    const answer = await fetch(form.action, { method: "POST", body, headers: { Accept: "text/html" } });
    if (!answer.ok || answer.redirected) return;
    const page = await wholePage(answer);
    const rules = page?.querySelector("[data-rules]");
    if (!rules) return;
    const focused = document.activeElement;
    form.querySelector("[data-rules]").replaceWith(document.adoptNode(rules));
    showGrips();
    again(focused, from, to).focus();
    form.querySelector("[data-moved]").textContent = page.querySelector("[data-moved]").textContent;
    form.dispatchEvent(new Event("input"));
  } finally {
    busy = false;
  }
}

function place(y) {
  const others = sections().filter((each) => each !== drag.rule);
  return others.filter((each) => {
    const box = each.getBoundingClientRect();
    return (box.top + box.bottom) / 2 < y;
  }).length;
}

function drop() {
  drag.rule.classList.remove("dragged");
  for (const each of sections()) delete each.dataset.drop;
  drag = null;
}

form.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && drag) return drop();
  const rule = event.target.closest("[data-rule]");
  if (!rule || !event.altKey || !/^Arrow(Up|Down)$/.test(event.key)) return;
  if (event.target.matches("select, textarea")) return;
  event.preventDefault();
  const from = Number(rule.dataset.rule);
  move(from, event.key === "ArrowUp" ? from - 1 : from + 1);
});

form.addEventListener("submit", (event) => {
  const [verb, from, to] = (event.submitter?.value ?? "").split(" ");
  if (verb !== "move") return;
  event.preventDefault();
  move(Number(from), Number(to));
});

form.addEventListener("pointerdown", (event) => {
  const grip = event.target.closest("[data-does=grip]");
  if (!grip || event.button) return;
  grip.setPointerCapture(event.pointerId);
  const rule = grip.closest("[data-rule]");
  drag = { rule, from: Number(rule.dataset.rule), to: Number(rule.dataset.rule) };
  rule.classList.add("dragged");
});

form.addEventListener("pointermove", (event) => {
  if (!drag) return;
  if (event.clientY < EDGE) scrollBy(0, -12);
  if (event.clientY > innerHeight - EDGE) scrollBy(0, 12);
  drag.to = place(event.clientY);
  for (const [at, each] of sections().entries()) {
    delete each.dataset.drop;
    if (at === drag.to && at !== drag.from) each.dataset.drop = at < drag.from ? "before" : "after";
  }
});

form.addEventListener("pointerup", () => {
  if (!drag) return;
  const { from, to } = drag;
  drop();
  move(from, to);
});

form.addEventListener("pointercancel", () => drag && drop());
showGrips();
