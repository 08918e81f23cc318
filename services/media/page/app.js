// The page: a player for the broadcast in ?src=, or for whatever is live of ?stream=, above the list of broadcasts.

import { connect } from "./controls.js";
import { open, Unplayable } from "./engine.js";
import { moment, qualityName } from "./format.js";
import { follow } from "./library.js";
import { mayPlay, resolve } from "./source.js";

const RETRY_MS = 5000;
// Brief buffering is normal; a viewer who waits for longer than this gets an explanation.
const AWAY_MS = 4000;
const AWAY = "The broadcaster is not sending at the moment. Playback resumes automatically.";
const $ = (id) => document.getElementById(id);
const video = $("video");
const parameters = new URLSearchParams(location.search);
const stream = parameters.get("src") ? null : parameters.get("stream");
let asked = parameters.get("src");

const PROBLEMS = {
  address: ["This address cannot be played", "The address of a broadcast begins with http://, https:// or /media/."],
  elsewhere: ["This page may not play from that server", "The operator of this server can allow it with the setting STREAMWAVE_PLAY_FROM."],
  waiting: ["Not live at the moment", "The next broadcast of this stream starts here automatically."],
  missing: ["Broadcast not found", "It may not have started yet, or it was removed. Trying again every few seconds."],
  network: ["The connection was lost", "The server does not answer. Playback resumes automatically when it does."],
  media: ["This broadcast cannot be played", "This browser cannot decode it. Another browser may be able to."],
  browser: ["This browser cannot play the broadcast", "It supports neither Media Source Extensions nor HLS. Use a current Firefox, Chrome, Edge or Safari."],
  players: ["The players are not installed", "The server does not have them under /vendor/. On the server, run: make setup"],
};
// Problems that may resolve themselves.
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
  // After a lost connection, a recording resumes at its position, and a live broadcast at the live edge.
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

// Browsers may block audio until the first click; muted video is better than none.
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

// Explain the wait while the publisher is disconnected. Once it is back, jump over the gap: dash.js would wait as long again.
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
  // Without an engine, begin() does not apply the position in the previous broadcast to this one.
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
  // While it is watched, a broadcast can turn from live into a recording.
  setInterval(() => {
    refresh();
    goOn();
  }, 1000);
}
// The address to enter in OBS. If this server does not know it, show none instead of a wrong one.
fetch("/rtmp.json")
  .then((response) => (response.ok ? response.json() : null))
  .then((rtmp) => {
    if (!rtmp) return;
    $("obs-server").textContent = `rtmp://${location.hostname}:${rtmp.port}/${rtmp.application}`;
    $("obs-server-row").hidden = false;
  })
  .catch(() => {});
follow((broadcasts) => {
  // Do not interrupt a viewer who is still watching the previous broadcast.
  const next = stream && (!asked || video.ended) && broadcasts.find((b) => b.live && b.stream === stream);
  if (next && !isAsked(next.path)) watch(next.path);
  known = (asked && broadcasts.find((b) => isAsked(b.path))) || null;
  if (!known) return;
  $("title").textContent = known.title;
  document.title = `${known.title} · StreamWave`;
  describe();
});
