// Times go on while the page is open. Python says the same, in words.py.

const UNITS = [[60, 1, "s"], [3600, 60, "min"], [48 * 3600, 3600, "h"], [Infinity, 86400, "d"]];

/** How long ago it was, or in how long it will be. */
export function ago(moment, now = Date.now()) {
  const seconds = (now - moment) / 1000;
  const size = Math.abs(seconds);
  const [, each, unit] = UNITS.find(([most]) => size < most);
  const amount = `${Math.floor(size / each)} ${unit}`;
  if (seconds < 0) return `in ${amount}`;
  return size >= 1 ? `${amount} ago` : "just now";
}

/** How long something lasts: `12.4 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`. */
export function duration(seconds) {
  if (seconds < 0.9995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 59.95) return `${seconds < 9.95 ? Number(seconds.toFixed(1)) : Math.round(seconds)} s`;
  if (seconds < 3600) return two(Math.round(seconds), 60, "min", "s");
  if (seconds < 48 * 3600) return two(Math.round(seconds / 60), 60, "h", "min");
  return two(Math.round(seconds / 3600), 24, "d", "h");
}

function two(amount, size, large, small) {
  const rest = amount % size;
  return `${Math.floor(amount / size)} ${large}${rest ? ` ${rest} ${small}` : ""}`;
}

/** The time of day on the reader's clock: `09:30:05`. */
export function clock(moment) {
  return moment.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
}

/** Rewrites all times once a second, while somebody can see them. */
export function tickTimes() {
  setInterval(() => {
    if (document.hidden) return;
    const now = Date.now();
    for (const time of document.querySelectorAll("time[data-clock]")) {
      const words = clock(new Date(time.dateTime));
      if (time.textContent !== words) time.textContent = words;
    }
    for (const time of document.querySelectorAll("time[data-ago], time[data-since]")) {
      const moment = Date.parse(time.dateTime);
      const words = "since" in time.dataset ? duration(Math.max(now - moment, 0) / 1000) : ago(moment, now);
      if (time.textContent !== words) time.textContent = words;
    }
  }, 1000);
}
