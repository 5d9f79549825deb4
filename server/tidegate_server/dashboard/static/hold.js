// Hold to confirm: the form is sent when the button was held long enough. Letting go early does
// nothing and says so. Space and Enter hold as a pointer does.
const HOLD_MS = 700;

for (const form of document.querySelectorAll("[data-hold-form]")) {
  const button = form.querySelector("[data-hold]");
  const held = form.querySelector("[name=held]");
  const says = document.getElementById("howto");
  const reason = form.querySelector("[name=reason]");
  for (const pill of form.querySelectorAll("[data-reason]")) {
    pill.addEventListener("click", () => {
      reason.value = pill.dataset.reason;
      for (const other of form.querySelectorAll("[data-reason]")) {
        other.setAttribute("aria-pressed", String(other === pill));
      }
    });
  }
  if (!button) continue;
  let timer = 0;
  const begin = (event) => {
    if (timer || (event.type === "keydown" && ![" ", "Enter"].includes(event.key))) return;
    event.preventDefault();
    if (event.repeat) return;
    // Scrolling would move the button away from under the finger.
    button.focus({ preventScroll: true });
    button.classList.add("holding");
    timer = setTimeout(() => {
      timer = 0;
      held.value = "yes";
      form.requestSubmit();
      // Only this was held for: a page that Back brings again, or that shows a mistake, is as before.
      held.value = "";
      button.classList.remove("holding");
    }, HOLD_MS);
  };
  const end = () => {
    if (!timer) return;
    clearTimeout(timer);
    timer = 0;
    button.classList.remove("holding");
    says.textContent = "Let go too early: nothing happened. Hold until the button is full.";
  };
  button.addEventListener("pointerdown", begin);
  button.addEventListener("keydown", begin);
  for (const name of ["pointerup", "pointerleave", "pointercancel", "keyup", "blur"]) {
    button.addEventListener(name, end);
  }
  button.addEventListener("contextmenu", (event) => event.preventDefault());
}
