// The views, one at a time; arrow keys move between their tabs.

export function startTabs() {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  for (const tab of tabs) {
    tab.addEventListener("click", () => show(tab));
    tab.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      const seen = tabs.filter((one) => !one.hidden);
      const next = seen.at((seen.indexOf(tab) + step) % seen.length);
      show(next);
      next.focus();
    });
  }

  function show(chosen) {
    for (const tab of tabs) {
      tab.setAttribute("aria-selected", String(tab === chosen));
      tab.tabIndex = tab === chosen ? 0 : -1;
      document.getElementById(tab.getAttribute("aria-controls")).hidden = tab !== chosen;
    }
  }

  return (view) => show(tabs.find((tab) => tab.getAttribute("aria-controls") === view));
}
