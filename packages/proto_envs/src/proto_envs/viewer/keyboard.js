// Keys act wherever the focus is, unless text is being typed. viser hands hotkeys on to Python, but its camera moves by
// the same letters, and a tick box or a menu that was just clicked would swallow them. So each of our keys is caught
// first, and told anew to the page as a whole, without the code of a key by which the camera goes.
(() => {
  const ours = new Set(KEYS);
  if (window.protoKeys) return;
  window.protoKeys = true;
  const typing = (element) =>
    element && (element.isContentEditable || element.tagName === "TEXTAREA" ||
      (element.tagName === "INPUT" && !element.readOnly && !["checkbox", "radio", "range"].includes(element.type)));
  window.addEventListener("keydown", (event) => {
    const key = event.key === " " ? "space" : event.key.toLowerCase();
    if (!event.isTrusted || event.ctrlKey || event.altKey || event.metaKey) return;
    if (!ours.has(key) || typing(document.activeElement)) return;
    event.stopImmediatePropagation();
    event.preventDefault();
    document.documentElement.dispatchEvent(new KeyboardEvent("keydown", { key: event.key, bubbles: true }));
  }, true);
  // A menu keeps the focus after a choice, and the next key would be typed into it.
  window.addEventListener("click", (event) => {
    if (event.target.closest?.('[role="option"]')) setTimeout(() => document.activeElement?.blur(), 0);
  }, true);
})();
