// Asks the server for a part of a page. Returns its nodes; or one text, which says why there are none.
export async function askedPart(address, options = {}) {
  try {
    const answer = await fetch(address, { ...options, headers: { Accept: "text/html" } });
    // Whoever is not signed in gets, or is led to, the form for that.
    if (answer.status === 401 || answer.redirected) return ["Your session has ended."];
    if (answer.status < 500 && !answer.ok) return [`The server refuses this (${answer.status}).`];
    const text = answer.ok ? await answer.text() : "";
    if (text) return [...new DOMParser().parseFromString(text, "text/html").body.childNodes];
  } catch {
    // Said below.
  }
  return ["The server does not answer."];
}
