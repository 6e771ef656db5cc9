// One stream of events from the service, and whether the service is there.
//
// A browser has few connections to one host for all its tabs, so a hidden page lets go of its own.
// EventSource reconnects by itself, and tells the service what it had last; where it gives up, or
// where the connection hangs without a word, it is made anew here.

const RETRY = 1500; // milliseconds until a stream is opened again that was given up
const ASK = 5000; // the same, where the service answers and streams nothing
const GRACE = 1200; // milliseconds that a stream may be away before it is called lost
const QUIET = 10000; // milliseconds without an event, after which the service is asked for a sign
const PATIENCE = 5000; // milliseconds for that sign

export function listen({ address, events, onEvent, onAnew, onBack }) {
  const base = document.body.dataset.base;
  const link = document.getElementById("link");
  let source = null;
  let live = false;
  let lost = false;
  let heard = performance.now();
  let losing = null;
  let retrying = null;

  function open() {
    close();
    onAnew();
    const opened = (source = new EventSource(address));
    opened.addEventListener("open", found);
    opened.addEventListener("error", () => {
      if (opened !== source) return;
      live = false;
      if (opened.readyState === EventSource.CLOSED) refused(opened);
      else losing ??= setTimeout(lose, GRACE);
    });
    for (const name of events) {
      opened.addEventListener(name, (event) => {
        if (opened !== source) return;
        found();
        onEvent(name, event);
      });
    }
  }

  /** Nothing streams. Where the service is there all the same, the page asks instead of hearing. */
  async function refused(opened) {
    const there = await isThere();
    if (opened !== source) return;
    if (there) found();
    else lose();
    retrying = setTimeout(open, there ? ASK : RETRY);
  }

  function close() {
    clearTimeout(retrying);
    source?.close();
    source = null;
  }

  function found() {
    clearTimeout(losing);
    losing = null;
    heard = performance.now();
    if (!live) onBack(); // nobody has told what was meanwhile
    live = true;
    tell("live", "Live");
    if (!lost) return;
    lost = false;
    document.getElementById("lost").hidden = true;
    announce("The connection to Paddock is back.");
  }

  /** `asOf` is when the service was last heard of, where that was not just now. */
  function lose({ asOf = new Date() } = {}) {
    losing = null;
    live = false;
    if (lost || document.hidden) return;
    lost = true;
    tell("lost", "Lost");
    const banner = document.getElementById("lost");
    banner.querySelector("[data-since]").textContent = asOf.toLocaleTimeString();
    banner.hidden = false;
    announce("The connection to Paddock is lost.");
  }

  function tell(state, words) {
    link.hidden = false;
    link.dataset.state = state;
    link.querySelector("[data-words]").textContent = words;
  }

  /** A connection that is dead and does not know it shows no error: ask, now and then. */
  async function check() {
    if (!source || document.hidden || performance.now() - heard < QUIET) return;
    if (!(await isThere())) lose({ asOf: new Date(Date.now() - (performance.now() - heard)) });
    else if (lost && source?.readyState !== EventSource.CONNECTING) open();
  }

  async function isThere() {
    try {
      const signal = AbortSignal.timeout(PATIENCE);
      const asked = { method: "HEAD", cache: "no-store", signal };
      if (!(await fetch(`${base}/health/live`, asked)).ok) return false; // a proxy's own answer
      heard = performance.now();
      return true;
    } catch {
      return false;
    }
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else if (!source) {
      open();
      onBack();
    }
  });
  window.addEventListener("offline", lose);
  window.addEventListener("online", () => { if (source) open(); });
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => { if (event.persisted && !source) { open(); onBack(); } });
  setInterval(check, 2500);
  if (!document.hidden) open();

  return {
    isLive: () => live && source !== null,
    lose,
    /** Listen to another stream from now on. */
    turnTo(other) {
      if (other === address) return;
      address = other;
      if (source) open();
    },
  };
}

/** Said by screen readers, when they have said what they are saying. */
export function announce(words) {
  document.getElementById("announcer").textContent = words;
}
