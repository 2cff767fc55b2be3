// Everything works without this file; it saves reloads and remembers the theme.
"use strict";

// Theme: remembered in this browser.
const root = document.documentElement;
for (const radio of document.querySelectorAll('input[name="theme"]')) {
  radio.checked = radio.value === (root.dataset.theme || "auto");
  radio.addEventListener("change", () => {
    if (radio.value === "auto") delete root.dataset.theme;
    else root.dataset.theme = radio.value;
    try {
      if (radio.value === "auto") localStorage.removeItem("theme");
      else localStorage.setItem("theme", radio.value);
    } catch { /* no storage, no memory of the theme */ }
  });
}

const here = () => location.pathname + location.search;
let seen = here();

// Links that change the view: the new page's content takes the old one's place, scroll and all.
async function show(address, push) {
  const answer = await fetch(address);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const content = page.querySelector("main");
  if (!content) { location.assign(address); return; }
  const before = document.querySelector(".scroll");
  const [left, top] = before ? [before.scrollLeft, before.scrollTop] : [0, 0];
  const focused = document.activeElement?.getAttribute("aria-label") || document.activeElement?.textContent;
  document.querySelector("main").replaceWith(document.adoptNode(content));
  document.querySelector(".site").replaceWith(document.adoptNode(page.querySelector(".site")));
  document.querySelector("footer").replaceWith(document.adoptNode(page.querySelector("footer")));
  document.title = page.title;
  if (push) history.pushState({}, "", answer.url + new URL(address, location).hash);
  seen = here();
  const after = document.querySelector(".scroll");
  if (after) after.scrollTo(left, top);
  const same = [...document.querySelectorAll("main a")].find(
    (a) => (a.getAttribute("aria-label") || a.textContent) === focused);
  (same || document.querySelector("main")).focus({ preventScroll: true });
  themes();
  commands();
}

function themes() {
  for (const radio of document.querySelectorAll('input[name="theme"]'))
    radio.checked = radio.value === (root.dataset.theme || "auto");
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-soft]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  show(link.href, true).catch(() => location.assign(link.href));
});
addEventListener("popstate", () => {
  // A place within the page is no other view.
  if (here() === seen) return;
  seen = here();
  show(location.href, false).catch(() => location.reload());
});

// A link that plays a switch or a button answers to the space bar as those do.
document.addEventListener("keydown", (event) => {
  const link = event.target.closest?.('a[role="switch"], a[role="button"]');
  if (link && event.key === " ") { event.preventDefault(); link.click(); }
  if (event.key === "Escape") {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  }
});

// Commands: a button that copies them, where the browser lets a page do so.
function commands() {
  if (!navigator.clipboard) return;
  for (const code of document.querySelectorAll("code:not(pre code, .copyable)")) {
    if (!code.textContent.startsWith("kurabe ")) continue;
    const button = document.createElement("button");
    code.classList.add("copyable");
    button.type = "button";
    button.className = "copy";
    button.textContent = document.body.dataset.copy;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(code.textContent);
      button.textContent = document.body.dataset.copied;
      setTimeout(() => { button.textContent = document.body.dataset.copy; }, 2000);
    });
    code.after(" ", button);
  }
}
commands();

// Catalogue: chips and the button's number follow the tick boxes.
const form = document.getElementById("catalogue");
if (form) {
  const boxes = () => [...form.querySelectorAll('.cards input[name="slugs"]')];
  const chips = document.getElementById("chips");
  const most = Number(form.dataset.most);
  const count = () => {
    const n = chips.children.length;
    document.getElementById("compare").textContent = form.dataset.compare.replace("{n}", n);
    document.getElementById("none").hidden = n > 0;
    for (const box of boxes()) box.disabled = !box.checked && n >= most;
  };
  const drop = (slug) => {
    chips.querySelector(`[data-slug="${slug}"]`)?.remove();
    form.querySelector(`input[type="hidden"][name="slugs"][value="${slug}"]`)?.remove();
    const box = boxes().find((each) => each.value === slug);
    if (box) box.checked = false;
  };
  form.addEventListener("change", ({ target }) => {
    if (target.name !== "slugs") return;
    if (target.checked) {
      const chip = document.createElement("li");
      const cross = document.createElement("a");
      chip.dataset.slug = target.value;
      cross.href = "#catalogue";
      cross.textContent = "×";
      cross.setAttribute("aria-label", form.dataset.unchoose.replace("{name}", target.dataset.name));
      chip.append(target.dataset.name, " ", cross);
      chips.append(chip);
    } else drop(target.value);
    count();
  });
  chips.addEventListener("click", (event) => {
    const cross = event.target.closest("a");
    if (!cross) return;
    event.preventDefault();
    drop(cross.parentElement.dataset.slug);
    count();
    (chips.querySelector("a") || document.getElementById("q")).focus();
  });
  count();
}

// Study: every run's state, and the page's content anew when a run began or ended.
async function poll() {
  const place = document.getElementById("progress");
  if (!place) return;
  const progress = await (await fetch(place.dataset.live)).json();
  place.querySelector('[data-progress="text"]').textContent = progress.text;
  for (const run of progress.runs) {
    const cell = place.querySelector(`[data-run="${CSS.escape(run.column)}/${run.block}"]`);
    if (!cell) continue;
    cell.className = `is-${run.status}`;
    cell.querySelector("meter").value = run.share;
    cell.querySelector("a, span").textContent = run.text;
  }
  if (progress.steps !== Number(place.dataset.steps)) {
    const page = new DOMParser().parseFromString(await (await fetch(location.href)).text(), "text/html");
    for (const id of ["progress", "results"])
      document.getElementById(id).replaceWith(document.adoptNode(page.getElementById(id)));
    commands();
  }
}
if (document.getElementById("progress"))
  setInterval(() => { if (!document.hidden) poll().catch(() => {}); }, 2000);
