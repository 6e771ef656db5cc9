// Small things that hands expect: a key for search, a theme, filters that act at once.

const THEMES = ["system", "light", "dark"];

/** A button that goes round the themes; the choice is kept in this browser. */
export function chooseTheme() {
  const button = document.getElementById("theme");
  const root = document.documentElement;
  const show = (theme) => {
    const words = theme === "system" ? "as the system" : theme;
    button.title = `Colours: ${words}`;
    button.querySelector(".unseen").textContent = `Colours: ${words}`;
  };
  button.hidden = false;
  show(root.dataset.theme ?? "system");
  button.addEventListener("click", () => {
    const now = root.dataset.theme ?? "system";
    const next = THEMES[(THEMES.indexOf(now) + 1) % THEMES.length];
    if (next === "system") delete root.dataset.theme;
    else root.dataset.theme = next;
    try {
      localStorage.setItem("paddock-theme", next);
    } catch {
      // It then lasts as long as this page.
    }
    show(next);
  });
}

/** `/` goes to the search, wherever nothing is being written. */
export function findWithSlash() {
  document.addEventListener("keydown", (event) => {
    const writes = event.target.closest?.("input, textarea, select, [contenteditable]");
    if (event.key !== "/" || writes || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    document.getElementById("search").focus();
  });
}

/** A changed filter shows at once what it lets through, and stands in the address. */
export function filterAtOnce(fresh) {
  document.addEventListener("change", (event) => {
    const form = event.target.closest?.("form[data-filter]");
    if (!form) return;
    const asked = new URLSearchParams();
    for (const [name, value] of new FormData(form)) if (value) asked.set(name, value);
    const address = form.getAttribute("action") + (asked.size ? `?${asked}` : "");
    history.replaceState(null, "", address);
    fresh.show(address);
  });
}

/** What was submitted is on its way: a second press is not a second job. */
export function sendOnce() {
  document.addEventListener("submit", (event) => {
    if (!event.target.matches("form[data-once]") || event.defaultPrevented) return;
    const button = event.submitter;
    // After the browser has read the form, which a disabled button would not be part of.
    setTimeout(() => { if (button) button.disabled = true; });
  });
  window.addEventListener("pageshow", () => {
    for (const button of document.querySelectorAll("form[data-once] button")) button.disabled = false;
  });
}

/** A question that is open closes on Escape, and on a press anywhere else. */
export function changeMind() {
  const open = () => document.querySelectorAll("details.careful[open]");
  document.addEventListener("click", (event) => {
    for (const question of open()) if (!question.contains(event.target)) question.open = false;
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const question of open()) {
      question.open = false;
      question.querySelector("summary").focus();
    }
  });
}
