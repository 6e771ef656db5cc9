// Runs before anything is shown, so that a page does not flash in the other theme.
(() => {
  const root = document.documentElement;
  root.classList.add("scripted");
  try {
    const wanted = localStorage.getItem("paddock-theme");
    if (wanted === "light" || wanted === "dark") root.dataset.theme = wanted;
  } catch {
    // Storage may be forbidden; the system's theme it is.
  }
})();
