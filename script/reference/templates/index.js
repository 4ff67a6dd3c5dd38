"use strict";
const search = document.getElementById("search");
const found = document.getElementById("found");
const contents = document.getElementById("contents");
const menu = document.getElementById("menu");
const MOST = 30;
const things = [...document.querySelectorAll("section[data-name]")].map((section) => ({
  id: section.id,
  name: section.dataset.name,
  kind: section.dataset.kind,
  lower: section.dataset.name.toLowerCase(),
  plain: plain(section.dataset.name),
  text: [...section.children].map((part) => part.textContent).join(" ").replace(/\s+/g, " "),
}));
for (const thing of things) thing.all = thing.text.toLowerCase();

// user_not_found, "user not found" and UserNotFound are one.
function plain(text) {
  return text.toLowerCase().replace(/[^a-z0-9]/g, "");
}

function rank(thing, words, whole) {
  if (whole && thing.plain === whole) return 0;
  if (whole && thing.plain.startsWith(whole)) return 1;
  if (whole && thing.plain.includes(whole)) return 2;
  if (words.every((word) => thing.lower.includes(word))) return 3;
  return words.every((word) => thing.all.includes(word)) ? 4 : -1;
}

function show() {
  const wanted = search.value.trim().toLowerCase();
  found.replaceChildren();
  found.hidden = !wanted;
  if (!wanted) return;
  const words = wanted.split(/\s+/);
  const whole = plain(wanted);
  const hits = things
    .map((thing) => ({ thing, rank: rank(thing, words, whole) }))
    .filter((hit) => hit.rank >= 0)
    .sort((one, other) => one.rank - other.rank || one.thing.name.length - other.thing.name.length);
  for (const { thing, rank } of hits.slice(0, MOST)) found.append(line(thing, rank, words[0]));
  if (hits.length !== 0 && hits.length <= MOST) return;
  const rest = document.createElement("li");
  rest.textContent = hits.length ? `and ${hits.length - MOST} more` : "Nothing has these words.";
  rest.style.padding = ".35rem .6rem";
  found.append(rest);
}

function line(thing, rank, word) {
  const link = document.createElement("a");
  link.href = `#${thing.id}`;
  link.textContent = thing.name;
  const small = document.createElement("small");
  const at = thing.all.indexOf(word);
  small.textContent = rank === 4 ? `${thing.kind}: …${thing.text.slice(Math.max(0, at - 30), at + 80)}…` : thing.kind;
  link.append(small);
  link.addEventListener("click", close);
  const item = document.createElement("li");
  item.append(link);
  return item;
}

function close() {
  search.value = "";
  show();
  contents.classList.remove("open");
  menu.setAttribute("aria-expanded", "false");
}

function choose(step) {
  const links = [...found.querySelectorAll("a")];
  if (!links.length) return;
  const now = links.findIndex((link) => link.classList.contains("chosen"));
  links[now]?.classList.remove("chosen");
  const next = links[(now + step + links.length) % links.length];
  next.classList.add("chosen");
  next.scrollIntoView({ block: "nearest" });
}

search.addEventListener("input", show);
search.addEventListener("keydown", (event) => {
  if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    event.preventDefault();
    choose(event.key === "ArrowDown" ? 1 : -1);
  } else if (event.key === "Enter") {
    (found.querySelector("a.chosen") ?? found.querySelector("a"))?.click();
    search.blur();
  } else if (event.key === "Escape") {
    close();
    search.blur();
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target === search || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  search.focus();
});
menu.addEventListener("click", () => {
  menu.setAttribute("aria-expanded", String(contents.classList.toggle("open")));
});
contents.addEventListener("click", (event) => {
  if (event.target.closest("a")) close();
});
for (const block of document.querySelectorAll("pre")) {
  const button = document.createElement("button");
  button.textContent = "Copy";
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(block.querySelector("code").textContent);
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1500);
  });
  block.append(button);
}
// index.html?q=… opens with a search, to be passed on as a link.
search.value = new URLSearchParams(location.search).get("q") ?? "";
show();
