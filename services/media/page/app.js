// The page: what is asked for by ?src=, or what is live of ?stream=, plays above; the list of broadcasts is below.

import { connect } from "./controls.js";
import { open, Unplayable } from "./engine.js";
import { moment, qualityName } from "./format.js";
import { follow } from "./library.js";
import { mayPlay, resolve } from "./source.js";

const RETRY_MS = 5000;
// Players buffer for a moment now and then; who waits for longer than this is told what for.
const AWAY_MS = 4000;
const AWAY = "Nothing is arriving at the moment. The broadcast goes on here by itself.";
const $ = (id) => document.getElementById(id);
const video = $("video");
const parameters = new URLSearchParams(location.search);
const stream = parameters.get("src") ? null : parameters.get("stream");
let asked = parameters.get("src");

const PROBLEMS = {
  address: ["This address cannot be played", "A broadcast has an address that begins with http:// or https://, or with /media/."],
  elsewhere: ["This address is not played here", "It belongs to another server. Whoever runs this one can allow it: STREAMWAVE_PLAY_FROM."],
  waiting: ["Not live at the moment", "The next broadcast of this stream begins here by itself."],
  missing: ["This broadcast is not here", "It may not have begun yet, or it has been removed. Looking again every few seconds."],
  network: ["The connection was lost", "The server does not answer. Playback goes on by itself as soon as it does."],
  media: ["This broadcast cannot be shown", "The browser cannot decode what it received. Another browser may be able to."],
  browser: ["This browser cannot play the broadcast", "It has neither Media Source Extensions nor HLS. A current Firefox, Chrome, Edge or Safari can."],
  players: ["The players are not installed", "The server does not have them under /vendor/. On the server, run: make setup"],
};
// What may pass without anybody doing something.
const PASSING = new Set(["missing", "network"]);

let engine = null;
let attempt = 0;
let retryTimer = 0;
let known = null;
let waitingSince = 0;

const controls = connect(video, () => engine);

function problem(kind, detail) {
  if (detail) console.warn(`${kind}: ${detail}`);
  const [title, text] = PROBLEMS[kind];
  $("problem-title").textContent = title;
  $("problem-text").textContent = text;
  $("problem").hidden = false;
  arrived();
  $("controls").hidden = true;
  $("retry").hidden = ["address", "elsewhere", "browser", "waiting"].includes(kind);
  clearTimeout(retryTimer);
  if (PASSING.has(kind)) retryTimer = setTimeout(begin, RETRY_MS);
}

async function begin() {
  clearTimeout(retryTimer);
  const source = resolve(asked);
  if (!source) return problem("address");
  const mine = ++attempt;
  // After a lost connection a recording goes on where it was; a live broadcast at its edge.
  const allowed = await mayPlay(source);
  if (mine !== attempt) return;
  if (!allowed) return problem("elsewhere");
  const position_s = engine && !engine.live() ? video.currentTime : 0;
  engine?.destroy();
  engine = null;
  controls.reset();
  $("problem").hidden = true;
  $("spinner").hidden = false;
  const tell = {
    problem: (kind, detail) => mine === attempt && problem(kind, detail),
    changed: () => mine === attempt && refresh(),
  };
  try {
    const opened = await open(video, source, tell);
    if (mine !== attempt) return opened.destroy();
    engine = opened;
  } catch (error) {
    if (!(error instanceof Unplayable)) throw error;
    return problem(error.message);
  }
  if (position_s) video.addEventListener("loadedmetadata", () => (video.currentTime = position_s), { once: true });
  video.addEventListener("loadedmetadata", () => play(), { once: true });
}

// Browsers refuse sound before the first click; a silent picture is better than none.
async function play() {
  try {
    await video.play();
  } catch (error) {
    if (error.name !== "NotAllowedError") return;
    video.muted = true;
    $("unmute").hidden = false;
    await video.play().catch(() => ($("unmute").hidden = true));
  }
  controls.refresh();
}

function refresh() {
  if (!engine) return;
  if ($("problem").hidden) $("controls").hidden = false;
  controls.refresh();
  describe();
}

function describe() {
  const live = engine?.live() ?? known?.live ?? false;
  const badge = $("badge");
  badge.hidden = !known && !video.readyState;
  badge.textContent = live ? "LIVE" : "RECORDING";
  badge.classList.toggle("live", live);
  const now = engine?.current();
  const facts = [known?.started && `${live ? "since " : ""}${moment(known.started)}`];
  if (now) facts.push(`${now.width}×${now.height} (${qualityName(now)})`);
  if (engine && now) facts.push(engine.name);
  $("facts").textContent = facts.filter(Boolean).join(" · ");
}

// Who waits while the publisher is away is told so. When he is back, dash.js would wait as long again as he was away.
function goOn() {
  if (!waitingSince || performance.now() - waitingSince < AWAY_MS || $("spinner").hidden || !engine?.live()) return;
  $("away").textContent = AWAY;
  if (video.seeking) return;
  for (let i = 0; i < video.buffered.length; i++) {
    if (video.buffered.start(i) > video.currentTime) return (video.currentTime = video.buffered.start(i));
  }
}

function arrived() {
  waitingSince = 0;
  $("spinner").hidden = true;
  $("away").textContent = "";
}

function isAsked(path) {
  const source = resolve(asked);
  const address = new URL(path, location.origin).href;
  return source !== null && (source.dash === address || source.hls === address);
}

function nameOf(text) {
  const parts = (resolve(text)?.dash ?? resolve(text)?.hls ?? "").split("/").slice(3, -1);
  try {
    return decodeURIComponent(parts.filter((part) => part !== "media").join(" / ")) || "Broadcast";
  } catch {
    return "Broadcast";
  }
}

function watch(path) {
  // Another broadcast: where the one before was is no place in it.
  engine?.destroy();
  engine = null;
  asked = path;
  $("title").textContent = nameOf(asked);
  begin();
}

if (asked || stream) {
  $("watch").hidden = false;
  video.addEventListener("waiting", () => {
    $("spinner").hidden = video.ended || !$("problem").hidden;
    waitingSince ||= performance.now();
  });
  for (const event of ["playing", "pause", "ended", "seeked"]) video.addEventListener(event, arrived);
  video.addEventListener("playing", () => {
    $("problem").hidden = true;
    refresh();
  });
  $("retry").addEventListener("click", begin);
  addEventListener("online", () => $("problem").hidden || !asked || begin());
  if (asked) watch(asked);
  else {
    $("title").textContent = stream;
    problem("waiting");
  }
  // A broadcast that ends turns from live to recording while it is watched.
  setInterval(() => {
    refresh();
    goOn();
  }, 1000);
}
// What to enter in OBS is the installation's; where the page comes from elsewhere, nothing is said rather than something wrong.
fetch("/rtmp.json")
  .then((response) => (response.ok ? response.json() : null))
  .then((rtmp) => {
    if (!rtmp) return;
    $("obs-server").textContent = `rtmp://${location.hostname}:${rtmp.port}/${rtmp.application}`;
    $("obs-server-row").hidden = false;
  })
  .catch(() => {});
follow((broadcasts) => {
  // Who still watches the one before, or went back in it, is left alone.
  const next = stream && (!asked || video.ended) && broadcasts.find((b) => b.live && b.stream === stream);
  if (next && !isAsked(next.path)) watch(next.path);
  known = (asked && broadcasts.find((b) => isAsked(b.path))) || null;
  if (!known) return;
  $("title").textContent = known.title;
  document.title = `${known.title} · StreamWave`;
  describe();
});
