// Keeps what is shown fresh: listens to the service, and fetches the page's main part anew when
// something has changed. htmx morphs it into place, so that focus, selection and scrolling stay.

import { announce, listen } from "./connection.js";
import { jobEvents } from "./job.js";

const SHORTEST = 700; // milliseconds between two refreshes
const SHARE = 8; // a refresh that took long is not begun again for so many times as long
const SLOWEST = 15000; // milliseconds after which figures are fetched anew where nothing was told
const MOVING = 1500; // the same, where bars are shown that move

export function keepFresh() {
  const main = () => document.getElementById("main");
  const service = () => `${document.body.dataset.base}/events`;
  const stream = () => main().dataset.events ?? service();
  const job = jobEvents();
  let timer = null;
  let running = false;
  let again = false;
  let next = null; // another address, chosen while one was fetched
  let earliest = 0;
  let shown = performance.now();
  let told = { id: main().dataset.job, status: main().dataset.status };

  async function show(address = null) {
    if (running) {
      next = address ?? next;
      again = true;
      return;
    }
    running = true;
    again = false;
    const begun = performance.now();
    try {
      await htmx.ajax("GET", address ?? main().dataset.address, {
        source: document.body,
        target: "#main",
        select: "#main",
        swap: "outerMorph",
      });
    } finally {
      running = false;
      shown = performance.now();
      earliest = shown + Math.max(SHORTEST, SHARE * (shown - begun));
    }
    if (next !== null) {
      const chosen = next;
      next = null;
      await show(chosen);
    } else if (again) soon();
  }

  /** Soon, and once for all that happens until then. */
  function soon() {
    if (document.hidden || timer !== null) return;
    timer = setTimeout(() => {
      timer = null;
      // What is missed now is made up for when the page is looked at, or the service is back.
      if (!document.hidden && connection.isLive()) show();
    }, Math.max(earliest - performance.now(), 150));
  }

  function onEvent(name, event) {
    const data = JSON.parse(event.data);
    // The last of a job's stream, which is about to end.
    if (name === "result" || name === "deleted") connection.turnTo(service());
    if (name in job) {
      job[name](data);
      return;
    }
    const { job: id } = main().dataset;
    if (id && (name === "queues" || (name === "job" && data.id !== id))) return;
    soon();
  }

  /** Whether fetched here or come with the answer to a button. */
  function swapped() {
    const { job: id, status } = main().dataset;
    if (id && id === told.id && status !== told.status) announce(`The job is ${status}.`);
    told = { id, status };
    connection.turnTo(stream());
  }

  // What is no page of ours, such as a proxy's own error, must not take the place of one.
  document.addEventListener("htmx:after:request", (event) => {
    if (event.detail.ctx.text.includes('id="main"')) return;
    event.preventDefault();
    connection.lose();
  });
  document.addEventListener("htmx:after:swap", swapped);
  const connection = listen({
    address: stream(),
    events: ["job", "queues", "missed", "status", "progress", "log", "result", "deleted"],
    onEvent,
    onAnew: job.anew,
    onBack: soon,
  });
  setInterval(() => {
    const most = main().querySelector("ul progress, table progress") ? MOVING : SLOWEST;
    if (connection.isLive() && performance.now() - shown > most) soon();
  }, 1000);
  return { show };
}
