"use strict";
// Asks every second for newer mails, and replaces the list if there are any.
const news = document.getElementById("news");
let list = document.getElementById("list");

async function refresh() {
  if (document.hidden) return;
  const query = new URLSearchParams({ newest: list.dataset.newest, open: list.dataset.open });
  const reply = await fetch("/list?" + query);
  if (reply.status !== 200) return;
  const fresh = new DOMParser().parseFromString(await reply.text(), "text/html").getElementById("list");
  const focused = list.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  if (document.body.classList.contains("empty")) return location.reload(); // the whole page says that the inbox is empty
  list.replaceWith(fresh);
  list = fresh;
  if (focused !== null) list.querySelector(`a[href="${CSS.escape(focused)}"]`)?.focus();
  news.textContent = "New mail: " + (list.querySelector(".subject")?.textContent ?? "");
}

async function follow() {
  try {
    await refresh();
    document.body.classList.remove("lost");
  } catch {
    document.body.classList.add("lost"); // the environment was stopped; it may start again
  }
  setTimeout(follow, 1000);
}

document.addEventListener("visibilitychange", () => refresh().catch(() => {}));
document.getElementById("copy")?.addEventListener("click", async (event) => {
  await navigator.clipboard.writeText(document.getElementById("command").textContent);
  event.target.textContent = "Copied";
});
follow();
