// The list of broadcasts, read regularly from /media/broadcasts.json.

import { clock, moment } from "./format.js";
import { inMedia } from "./source.js";

const EVERY_MS = 4000;
// A live thumbnail keeps its URL, so the query changes at this interval to make the browser reload it.
const THUMBNAIL_MS = 10_000;
const $ = (id) => document.getElementById(id);

/** Keep the list up to date; calls `changed(broadcasts)` after each update. */
export function follow(changed) {
  const cards = new Map();

  async function read() {
    if (!document.hidden) {
      const broadcasts = await fetchBroadcasts();
      $("unreachable").hidden = broadcasts !== null;
      if (broadcasts) {
        show(broadcasts, cards);
        changed(broadcasts);
      }
    }
    setTimeout(read, EVERY_MS);
  }
  document.addEventListener("visibilitychange", () => document.hidden || fetchBroadcasts().then((list) => list && show(list, cards)));
  return read();
}

/** The broadcasts, newest first; empty if no list exists yet, null if it cannot be read. */
async function fetchBroadcasts() {
  try {
    const response = await fetch("/media/broadcasts.json", { cache: "no-cache" });
    if (response.status === 404) return [];
    if (!response.ok) return null;
    const { broadcasts } = await response.json();
    return broadcasts.map(parse).filter(Boolean).sort((a, b) => b.started - a.started);
  } catch {
    return null;
  }
}

function parse(raw) {
  const manifest = inMedia(raw?.manifest);
  const hls = inMedia(raw?.hls);
  if (!manifest && !hls) return null;
  return {
    key: `${raw.stream}/${raw.id}`,
    stream: String(raw.stream),
    title: String(raw.title || raw.stream || "Untitled"),
    live: raw.state === "live",
    started: Number(raw.started_unix_ms) || 0,
    duration_s: Number(raw.duration_ms) / 1000 || 0,
    path: (manifest ?? hls).pathname,
    thumbnail: inMedia(raw.thumbnail),
  };
}

function show(broadcasts, cards) {
  const keys = new Set(broadcasts.map((b) => b.key));
  for (const [key, card] of cards) {
    if (keys.has(key)) continue;
    card.root.remove();
    cards.delete(key);
  }
  for (const [group, wanted] of [["live", true], ["ended", false]]) {
    const list = $(group);
    const members = broadcasts.filter((b) => b.live === wanted);
    members.forEach((broadcast, place) => {
      if (!cards.has(broadcast.key)) cards.set(broadcast.key, makeCard());
      const card = cards.get(broadcast.key);
      update(card, broadcast);
      // Move a card only if it is out of place, because moving it loses the keyboard focus.
      if (list.children[place] !== card.root) list.insertBefore(card.root, list.children[place] ?? null);
    });
    $(`${group}-group`).hidden = members.length === 0;
  }
  $("empty").hidden = broadcasts.length > 0 || !$("watch").hidden;
}

function makeCard() {
  const make = (tag, className, parent) => {
    const element = document.createElement(tag);
    element.className = className;
    parent?.append(element);
    return element;
  };
  const root = make("li", "card");
  const link = make("a", "", root);
  const frame = make("span", "frame", link);
  const image = make("img", "", frame);
  image.alt = "";
  image.loading = "lazy";
  image.addEventListener("error", () => (image.hidden = true));
  image.addEventListener("load", () => (image.hidden = false));
  const mark = make("span", "mark", frame);
  const title = make("span", "name", link);
  const facts = make("span", "when", link);
  return { root, link, image, mark, title, facts };
}

function update(card, broadcast) {
  const set = (element, text) => element.textContent !== text && (element.textContent = text);
  card.link.href = `?src=${encodeURIComponent(broadcast.path)}`;
  const current = new URLSearchParams(location.search).get("src") === broadcast.path;
  if (current) card.link.setAttribute("aria-current", "page");
  set(card.title, broadcast.title);
  set(card.mark, broadcast.live ? "LIVE" : clock(broadcast.duration_s));
  card.mark.classList.toggle("live", broadcast.live);
  set(card.facts, broadcast.started ? `${broadcast.live ? "since " : ""}${moment(broadcast.started)}` : "");
  let picture = "";
  if (broadcast.thumbnail) {
    if (broadcast.live) broadcast.thumbnail.searchParams.set("v", String(Math.floor(Date.now() / THUMBNAIL_MS)));
    picture = broadcast.thumbnail.href;
  }
  if (card.image.dataset.source === picture) return;
  card.image.dataset.source = picture;
  if (picture) card.image.src = picture;
  else card.image.hidden = true;
}
