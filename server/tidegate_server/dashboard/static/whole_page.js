// Returns the page that an answer has; null: it was cut off midway, which HTTP/1.0 and some proxies do
// not tell from its end.
export async function wholePage(answer) {
  const html = await answer.text();
  return /<\/html>\s*$/.test(html) ? new DOMParser().parseFromString(html, "text/html") : null;
}
