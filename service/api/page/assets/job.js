// What a job tells while it runs: its progress and its log, without a look at the rest of the page.

import { clock } from "./times.js";

const MOST_LINES = 2000; // that are kept in the page
// What terminals take for colours and cursor movements; words.py has the same.
const CONTROLS = /\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]/g;

/** What to do with each of its events. */
export function jobEvents() {
  let replayed = false;
  let following = true;
  const box = () => document.getElementById("log");

  function follow() {
    if (following && box()) box().scrollTop = box().scrollHeight;
  }

  function setFollowing(value) {
    following = value;
    const button = document.getElementById("follow");
    if (!button) return;
    button.setAttribute("aria-pressed", value);
    button.textContent = value ? "Following" : "Follow";
    follow();
  }

  const button = document.getElementById("follow");
  if (button) {
    button.addEventListener("click", () => setFollowing(!following));
    // Who scrolls up reads; who scrolls to the end waits for more.
    for (const gesture of ["wheel", "touchmove", "keydown"]) {
      box().addEventListener(gesture, () => requestAnimationFrame(() => {
        const left = box().scrollHeight - box().scrollTop - box().clientHeight;
        if ((left < 8) !== following) setFollowing(left < 8);
      }), { passive: true });
    }
    follow();
  }

  return {
    /** The stream begins anew, and tells all from the start. */
    anew() {
      replayed = true;
      const button = document.getElementById("follow");
      if (button) button.hidden = !document.getElementById("main").dataset.events;
    },

    log({ lines }) {
      if (!box()) return;
      const list = box().querySelector("ol");
      if (replayed) list.replaceChildren();
      replayed = false;
      list.append(...lines.slice(-MOST_LINES).map(shownLine));
      while (list.childElementCount > MOST_LINES) list.firstElementChild.remove();
      box().querySelector(".none").hidden = true;
      follow();
    },

    progress({ fraction, message }) {
      const bar = document.getElementById("progress");
      if (!bar) return;
      const line = bar.querySelector("progress");
      if (fraction === null) line.removeAttribute("value");
      else line.value = fraction;
      bar.querySelector("[data-percent]").textContent = fraction === null ? "" : `${Math.round(100 * fraction)} %`;
      bar.querySelector("[data-message]").textContent = message ?? "";
      bar.hidden = false;
    },
  };
}

function shownLine({ at, stream, level, text }) {
  const line = document.createElement("li");
  line.className = (level ?? stream).toLowerCase();
  const time = document.createElement("time");
  time.dateTime = at;
  time.textContent = clock(new Date(at));
  const label = document.createElement("b");
  label.textContent = level ?? stream;
  const words = document.createElement("span");
  words.textContent = text.replace(CONTROLS, "");
  line.append(time, label, words);
  return line;
}
