// Shows who would change sides, 300 ms after typing ends; the form's button asks the same.

import { askedPart } from "./asked_part.js";

const WAIT_MS = 300;

for (const form of document.querySelectorAll("form[data-sides-form]")) {
  const place = form.querySelector("[data-sides]");
  let timer = 0;
  let asked = 0;

  const ask = async () => {
    const mine = ++asked;
    const body = new URLSearchParams(new FormData(form));
    body.set("do", "preview");
    body.set("part", "sides");
    const part = await askedPart(form.action, { method: "POST", body });
    // What it says now is about what was typed before, so it goes away in any case.
    if (mine === asked) place.replaceChildren(...part);
  };

  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(ask, WAIT_MS);
  });
}
