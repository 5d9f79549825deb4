// Moves the secret of an invitation from the address, where it would stay in the history, into the
// form.
const field = document.getElementById("invitation");
const secret = location.hash.slice(1);
if (secret) {
  field.value = secret;
  document.querySelector("[data-invitation]").hidden = true;
  history.replaceState(null, "", location.pathname + location.search);
}
