"use strict";
// Live parts: what has data-live hears over SSE that something changed; what is in it then asks for itself again
// (hx-trigger="live from:closest [data-live]"). A hidden tab hears nothing and catches up when it is looked at: a
// browser opens six connections to a host, and an analyst has more tabs than that.
(() => {
  const parts = new Map();

  const listen = (element) => {
    const address = new URL(element.dataset.live, location.href);
    address.searchParams.set("after", element.dataset.after);
    const source = new EventSource(address);
    parts.set(element, source);
    element.dataset.connected = "no";
    source.addEventListener("open", () => { element.dataset.connected = "yes"; });
    source.addEventListener("changed", (event) => {
      element.dataset.after = event.lastEventId;
      element.dispatchEvent(new CustomEvent("live"));
    });
    source.addEventListener("ended", () => {
      stop(element, true);
      element.removeAttribute("data-live");
    });
    source.addEventListener("error", () => {
      element.dataset.connected = "no";
      // The browser tries again by itself, but not where it was answered with an error.
      if (source.readyState === EventSource.CLOSED) setTimeout(() => again(element, source), 3000);
    });
  };
  const again = (element, source) => {
    if (parts.get(element) === source && !document.hidden) listen(element);
  };
  const stop = (element, forGood) => {
    parts.get(element)?.close();
    parts.set(element, null);
    if (forGood) parts.delete(element);
  };
  const look = () => {
    for (const element of document.querySelectorAll("[data-live]")) {
      if (parts.has(element) || element.dataset.live === "") continue;
      parts.set(element, null);
    }
    for (const [element, source] of parts) {
      if (!element.isConnected) stop(element, true);
      else if (document.hidden) stop(element, false);
      else if (source === null) listen(element);
    }
  };
  document.addEventListener("visibilitychange", look);
  document.addEventListener("htmx:load", look);
  window.addEventListener("pagehide", () => parts.forEach((_, element) => stop(element, false)));
  window.addEventListener("pageshow", look);
  look();
})();
