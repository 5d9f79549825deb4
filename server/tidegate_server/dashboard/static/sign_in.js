// Keeps a form in this tab while its reader, whose session ended, signs in with a provider.

const KEY = "tidegate-kept-form";
const back = document.querySelector("form[data-kept]");
const kept = document.querySelector("form[action='/sign-in/kept']:not([data-kept])");
const refused = location.pathname.startsWith("/sign-in/with/");

function comeBackTo(wanted) {
  for (const link of document.querySelectorAll("a[href^='/sign-in/with/']")) {
    const next = `/sign-in/kept?next=${encodeURIComponent(wanted)}`;
    link.search = new URLSearchParams({ next }).toString();
  }
}

if (back) {
  const found = JSON.parse(sessionStorage.getItem(KEY) ?? "null");
  sessionStorage.removeItem(KEY);
  if (found && found.wanted === back.elements.next.value) {
    back.elements.kept_form.value = found.form;
    back.requestSubmit();
  }
} else if (kept) {
  const { next, kept_form: form } = kept.elements;
  sessionStorage.setItem(KEY, JSON.stringify({ wanted: next.value, form: form.value }));
  comeBackTo(next.value);
} else if (refused && sessionStorage.getItem(KEY)) {
  comeBackTo(JSON.parse(sessionStorage.getItem(KEY)).wanted);
} else {
  // Whoever signs in here next has not typed it.
  sessionStorage.removeItem(KEY);
}
