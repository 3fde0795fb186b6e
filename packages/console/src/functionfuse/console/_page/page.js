"use strict";
// The list of runs is asked for again while one of them goes on.
const INTERVAL = 3000;

async function refresh() {
  const live = document.getElementById("live");
  if (live.dataset.live !== "true") return;
  const table = document.getElementById("runs");
  const isUsed = table.contains(document.activeElement) || table.querySelector(":checked");
  if (!document.hidden && !isUsed) {
    try {
      const answer = await fetch(location.href);
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const fresh = page.getElementById("runs");
      if (answer.ok && fresh) {
        table.replaceWith(fresh);
        document.querySelector("h1").textContent = page.querySelector("h1").textContent;
        live.replaceWith(page.getElementById("live"));
      }
    } catch (error) {
      live.textContent = "The server does not answer any more.";
      return;
    }
  }
  setTimeout(refresh, INTERVAL);
}

setTimeout(refresh, INTERVAL);
