// Keeps a page up to date: an event says that something changed, and the page's own address gives
// the new parts, which replace those with the same id. Focus, selection and open details stay, and
// a sentence that gets shorter keeps its height, so that nothing below it moves.

import { wholePage } from "./whole_page.js";

const main = document.getElementById("main");
const address = main?.dataset.liveEvents;
const status = document.getElementById("live-status");
const LEAST_MS = 1000;
const EVENTS = ["reset", "flag", "release", "kill", "receipt", "instance", "segment", "policy"];
const KEEPING = ".status, figcaption, .against";
const SLOW_MS = [10_000, 30_000];
const CLICK_MS = 400;

let source = null;
let asking = null;
let failures = 0;
let last = 0;
let timer = 0;
let moment = main?.dataset.liveMoment;
let waits = false;
let spoken = "";
let spokeAt = 0;
let pressed = null;
const shown = new Map();

function schedule(delay = 0) {
  if (timer) return;
  timer = setTimeout(refresh, Math.max(delay, last + LEAST_MS - Date.now(), 0));
}

const names = (page) => Array.from(page.querySelectorAll("[data-live]"), (part) => part.dataset.live);

function typed() {
  return [...main.querySelectorAll("input, textarea")].some(
    (field) => field.value !== field.defaultValue || field.checked !== field.defaultChecked,
  );
}

async function refresh() {
  timer = 0;
  last = Date.now();
  if (document.hidden) return;
  asking = new AbortController();
  const { signal } = asking;
  let answer;
  let page;
  try {
    answer = await fetch(location.href, { headers: { Accept: "text/html", "X-Live": "1" }, signal });
    page = await wholePage(answer);
  } catch {
    return signal.aborted ? undefined : schedule(SLOW_MS[0]);
  }
  if (answer.redirected && new URL(answer.url).pathname === "/sign-in") return;
  if (answer.status >= 500) return schedule(SLOW_MS[0]);
  if (!answer.ok) return;
  if (!page) return schedule(SLOW_MS[0]);
  const parts = [...document.querySelectorAll("[data-live]")];
  // It has become another page, such as the report of a release that has ended.
  if (String(names(document)) !== String(names(page)) && !typed()) return location.reload();
  moment = page.getElementById("main").dataset.liveMoment;
  waits = false;
  for (const part of parts) {
    const next = page.querySelector(`[data-live="${CSS.escape(part.dataset.live)}"]`);
    if (!next) continue;
    const inner = next.innerHTML;
    if (inner === (shown.get(part.dataset.live) ?? part.innerHTML)) continue;
    const selection = getSelection();
    const selecting = !selection.isCollapsed && part.contains(selection.anchorNode);
    if (selecting || part.contains(document.activeElement) || part.contains(pressed)) {
      waits = true;
      continue;
    }
    for (const open of part.querySelectorAll("details[open][id]")) {
      next.querySelector(`#${CSS.escape(open.id)}`)?.setAttribute("open", "");
    }
    const heights = [...part.querySelectorAll(KEEPING)].map((each) => each.getBoundingClientRect().height);
    shown.set(part.dataset.live, inner);
    part.replaceWith(document.adoptNode(next));
    const kept = next.querySelectorAll(KEEPING);
    if (kept.length !== heights.length) continue;
    kept.forEach((each, index) => (each.style.minBlockSize = `${heights[index]}px`));
  }
  speak();
}

// One polite line, only when the bold part of the state sentence changes, at most every 10 s.
function speak() {
  const says = document.querySelector(".status .says b")?.textContent ?? "";
  if (!status || says === spoken || Date.now() - spokeAt < 10_000) return;
  if (spoken) status.textContent = says;
  spoken = says;
  spokeAt = Date.now();
}

function badge(live) {
  const sign = document.querySelector(".side-foot .live");
  if (sign) sign.hidden = !live;
  document.getElementById("not-live")?.toggleAttribute("hidden", live);
}

function connect() {
  source?.close();
  source = new EventSource(address);
  source.onopen = () => {
    failures = 0;
    badge(true);
  };
  source.onmessage = () => schedule();
  // The browser has an event of this name, too, which has no data.
  source.addEventListener("open", (event) => {
    if (event.data && JSON.parse(event.data).moment !== moment) schedule();
  });
  for (const name of EVENTS) source.addEventListener(name, () => schedule());
  source.onerror = () => {
    failures += 1;
    const later = SLOW_MS[failures > 3 ? 1 : 0];
    if (failures === 1) setTimeout(() => source?.readyState !== EventSource.OPEN && badge(false), 10_000);
    setTimeout(schedule, later);
    // After an answer that is no stream, such as a proxy's 502, browsers do not try again.
    if (source?.readyState === EventSource.CLOSED) setTimeout(() => source && connect(), later);
  };
}

// A request that ends because its page is left has not failed: WebKit may keep the page for Back, and
// then it asks at once.
function disconnect() {
  source?.close();
  source = null;
  asking?.abort();
  clearTimeout(timer);
  timer = 0;
}

if (address) {
  spoken = document.querySelector(".status .says b")?.textContent ?? "";
  connect();
  // What no event tells, such as a page that asks for all its flags.
  const every = Number(main.dataset.liveEvery);
  if (every) setInterval(schedule, 1000 * every);
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) return disconnect();
    connect();
    schedule();
  });
  addEventListener("pagehide", disconnect);
  // What is pressed has no focus in Safari; and its click comes a little after it is let go.
  document.addEventListener("pointerdown", (event) => {
    if (!event.button) pressed = event.target;
  });
  for (const name of ["pointerup", "pointercancel", "contextmenu"]) {
    document.addEventListener(name, () => {
      const was = pressed;
      setTimeout(() => {
        if (pressed === was) pressed = null;
        if (waits) schedule();
      }, CLICK_MS);
    });
  }
  // A part that was in use gets its news once it is left.
  document.addEventListener("focusout", () => waits && schedule());
  document.addEventListener("selectionchange", () => waits && getSelection().isCollapsed && schedule());
  addEventListener("resize", () => {
    for (const each of document.querySelectorAll(KEEPING)) each.style.minBlockSize = "";
  });
}
