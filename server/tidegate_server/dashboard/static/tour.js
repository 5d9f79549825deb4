// The tour goes on by itself until a person steps or pauses, and never where motion is unwelcome.

const SCENE_MS = 7000;
const button = document.getElementById("play");
const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
let timer = 0;

function play() {
  timer = setTimeout(() => location.replace(button.dataset.following), SCENE_MS);
  button.textContent = "Pause";
}

function pause() {
  clearTimeout(timer);
  timer = 0;
  button.textContent = "Play";
}

if (button?.dataset.following) {
  button.hidden = false;
  button.addEventListener("click", () => (timer ? pause() : play()));
  if (button.dataset.plays === "yes" && !still) play();
}
