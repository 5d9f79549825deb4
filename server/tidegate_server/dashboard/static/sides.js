// Shows who would change sides, 300 ms after typing ends; the form's button asks the same.

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
    let text = "";
    try {
      const answer = await fetch(form.action, { method: "POST", body, headers: { Accept: "text/html" } });
      if (answer.ok && !answer.redirected) text = await answer.text();
    } catch {
      // Said below.
    }
    if (mine !== asked) return;
    // What it says now is about what was typed before.
    if (!text) return place.replaceChildren("The server does not answer, so this is not known now.");
    place.replaceChildren(...new DOMParser().parseFromString(text, "text/html").body.childNodes);
  };

  form.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(ask, WAIT_MS);
  });
}
