// Keeps the form and the YAML of a policy in step: the server makes one of the other.

import { wholePage } from "./whole_page.js";

const WAIT_MS = 400;
const form = document.querySelector("form[data-policy]");
let timer = 0;
let asked = 0;

const part = (of, name) => of.querySelector(`[data-${name}]`);

function replace(next, name) {
  part(form, name).replaceWith(document.adoptNode(part(next, name)));
}

// Shows what is wrong beside each field, and what others have become, while somebody types in one.
function refresh(next) {
  const fields = part(form, "fields");
  for (const field of fields.querySelectorAll("input, select, textarea")) {
    const now = next.elements[field.name];
    if (!now) continue;
    for (const name of ["aria-invalid", "aria-describedby"]) {
      if (now.hasAttribute(name)) field.setAttribute(name, now.getAttribute(name));
      else field.removeAttribute(name);
    }
    if (field !== document.activeElement && field.value !== now.value) field.value = now.value;
  }
  for (const old of fields.querySelectorAll(".error")) old.remove();
  for (const error of part(next, "fields").querySelectorAll("[data-at]")) {
    const field = form.elements[error.dataset.at];
    if (!field) continue;
    const line = field.closest(".field, .line-form") ?? field;
    if (line.matches(".field")) line.append(document.adoptNode(error));
    else line.after(document.adoptNode(error));
  }
}

async function ask(button, edited) {
  const mine = ++asked;
  const body = new URLSearchParams(new FormData(form));
  body.set("do", button);
  let answer;
  let page;
  try {
    answer = await fetch(form.action, { method: "POST", body, headers: { Accept: "text/html" } });
    page = await wholePage(answer);
  } catch {
    return;
  }
  if (answer.status >= 500 || answer.redirected || mine !== asked) return;
  const next = page?.querySelector("form[data-policy]");
  if (!next || mine !== asked) return;
  if (edited !== "source") form.elements.source.value = next.elements.source.value;
  form.elements.shown.value = next.elements.shown.value;
  replace(next, "findings");
  if (edited === "text") return refresh(next);
  const focused = document.activeElement.name;
  replace(next, "fields");
  const fields = part(form, "fields");
  if (edited === "button") fields.querySelector("[autofocus]")?.focus();
  else if (edited === "choice") form.elements[focused]?.focus();
}

form.addEventListener("input", (event) => {
  const { name, type } = event.target;
  if (name === "reason" || name === "why") return;
  clearTimeout(timer);
  asked++;
  const kind = type === "select-one" ? "choice" : "text";
  timer = setTimeout(() => ask("step", name === "source" ? name : kind), WAIT_MS);
});

form.addEventListener("submit", (event) => {
  const button = event.submitter?.value ?? "";
  if (!/^(add|remove) /.test(button)) return;
  event.preventDefault();
  clearTimeout(timer);
  ask(button, "button");
});
