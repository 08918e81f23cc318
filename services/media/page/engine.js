// One interface over dash.js, hls.js and the browser's own HLS:
//
//   live()      whether the broadcast still goes on
//   range()     {start_s, end_s} of the seekable range, in the time of video.currentTime
//   latency_s() how far behind the camera, or null
//   target_s()  how far behind the live edge the player intends to be
//   goLive()    jump to the live edge
//   qualities() [{key, width, height, fps, bps}], lowest first; empty if the viewer cannot choose
//   choose(key) select one of them, or null for automatic
//   current()   the quality that is being loaded, or null
//   captions()  whether there are captions
//   caption(on) show or hide captions; hidden at first
//   destroy()
//
// `tell` gets problem(kind, detail) with kind "missing" | "network" | "media" | "players", and changed().

const DASH = "/vendor/dashjs/dist/modern/esm/dash.mediaplayer.min.js";
const HLS = "/vendor/hls.js/dist/hls.min.mjs";

/** Open `source` ({dash, hls}) in `video` with the first player that works here. Throws Unplayable if none does. */
export async function open(video, source, tell) {
  const mse = typeof window.MediaSource === "function";
  // iPhones have only ManagedMediaSource, which dash.js does not support.
  const managed = typeof window.ManagedMediaSource === "function";
  if (mse && source.dash) return openDash(await load(DASH), video, source.dash, tell);
  if ((mse || managed) && source.hls) return openHls(await load(HLS), video, source.hls, tell);
  if (source.hls && video.canPlayType("application/vnd.apple.mpegurl")) return openNative(video, source.hls, tell);
  throw new Unplayable("browser");
}

export class Unplayable extends Error {}

async function load(module) {
  try {
    return await import(module);
  } catch (error) {
    console.error(error);
    throw new Unplayable("players");
  }
}

function seekableRange(video) {
  const { seekable, duration } = video;
  if (seekable.length) return { start_s: seekable.start(0), end_s: seekable.end(seekable.length - 1) };
  return { start_s: 0, end_s: Number.isFinite(duration) ? duration : 0 };
}

function nativeCaptions({ textTracks }) {
  const tracks = () => Array.from(textTracks).filter(({ kind }) => kind === "captions");
  return {
    captions: () => tracks().length > 0,
    caption: (on) => tracks().forEach((track, number) => (track.mode = on && number === 0 ? "showing" : "hidden")),
  };
}

const byHeight = (a, b) => a.height - b.height || a.bps - b.bps;

function openDash({ MediaPlayer }, video, address, tell) {
  const player = MediaPlayer().create();
  const { events } = MediaPlayer;
  let chosen = null;
  const setAutomatic = (automatic) =>
    player.updateSettings({ streaming: { abr: { autoSwitchBitrate: { video: automatic } } } });
  player.updateSettings({
    debug: { logLevel: 1 },
    streaming: {
      text: { defaultEnabled: false },
      // For manifests without UTCTiming, use this server's clock instead of one on the internet.
      utcSynchronization: {
        defaultTimingSource: { scheme: "urn:mpeg:dash:utc:http-xsdate:2014", value: `${location.origin}/time` },
      },
    },
  });

  const representations = () => (player.isReady() && player.getActiveStream() ? player.getRepresentationsByType("video") : []);
  const asQuality = (r) => ({ key: String(r.height), width: r.width, height: r.height, fps: Number(r.frameRate), bps: r.bandwidth });
  const apply = (replace) => {
    // Representations have other ids in each period, so the choice is identified by its height.
    const match = representations().find((r) => String(r.height) === chosen);
    setAutomatic(!match);
    if (match) player.setRepresentationForTypeById("video", match.id, replace);
  };
  player.on(events.ERROR, ({ error }) => {
    // Codes of dash.js' Errors: 11 and 25 concern the manifest; 15, 17 and 26 to 28 segments and their index.
    const manifest = [11, 25].includes(error?.code);
    if (manifest && !video.currentTime) tell.problem("missing", error.message);
    else tell.problem(manifest || [15, 17, 26, 27, 28].includes(error?.code) ? "network" : "media", error?.message);
  });
  player.on(events.PLAYBACK_ERROR, ({ error }) => tell.problem("media", error?.message));
  player.on(events.STREAM_INITIALIZED, () => {
    if (chosen) apply(false);
    tell.changed();
  });
  for (const event of [events.QUALITY_CHANGE_RENDERED, events.DYNAMIC_TO_STATIC]) player.on(event, () => tell.changed());
  player.initialize(video, address, false);

  return {
    name: "dash.js",
    live: () => player.isReady() && player.getActiveStream() !== null && player.isDynamic(),
    range() {
      const dvr = this.live() ? player.getDvrWindow() : null;
      return dvr && dvr.end > dvr.start ? { start_s: dvr.start, end_s: dvr.end } : seekableRange(video);
    },
    latency_s: () => finite(player.getCurrentLiveLatency()),
    target_s: () => finite(player.getTargetLiveDelay()) ?? 6,
    goLive: () => player.seekToOriginalLive(),
    qualities: () => representations().map(asQuality).sort(byHeight),
    choose(key) {
      chosen = key;
      apply(true);
    },
    current() {
      const now = player.isReady() && player.getActiveStream() ? player.getCurrentRepresentationForType("video") : null;
      return now ? asQuality(now) : null;
    },
    captions: () => player.isReady() && player.getActiveStream() !== null && player.getTracksFor("text").length > 0,
    caption(on) {
      player.enableText(on);
      player.setTextTrack(on ? 0 : -1);
    },
    destroy: () => player.destroy(),
  };
}

function openHls({ default: Hls }, video, address, tell) {
  const player = new Hls({ backBufferLength: 90 });
  const { Events, ErrorTypes } = Hls;
  let repaired = false;
  player.on(Events.ERROR, (_, { fatal, type, response, error }) => {
    if (!fatal) return;
    if (type === ErrorTypes.MEDIA_ERROR && !repaired) {
      repaired = true;
      player.recoverMediaError();
      return;
    }
    const missing = response?.code === 404 && !video.currentTime;
    tell.problem(missing ? "missing" : type === ErrorTypes.NETWORK_ERROR ? "network" : "media", error?.message);
  });
  for (const event of [Events.MANIFEST_PARSED, Events.LEVEL_SWITCHED, Events.LEVEL_UPDATED]) {
    player.on(event, () => tell.changed());
  }
  const asQuality = (l) => ({ key: String(l.height), width: l.width, height: l.height, fps: l.frameRate, bps: l.bitrate });
  const details = () => player.latestLevelDetails ?? player.levels[player.currentLevel]?.details;

  let chosen = null;
  const apply = () => (player.nextLevel = chosen === null ? -1 : player.levels.findIndex((l) => String(l.height) === chosen));
  player.on(Events.MANIFEST_PARSED, apply);

  // A live playlist with a DVR window ends with that window. The same URL then serves the complete recording: load it.
  let windowed = false;
  player.on(Events.LEVEL_UPDATED, (_, { details: { live, startSN, edge } }) => {
    if (windowed && !live) reopen(Math.max(0, edge - video.currentTime), video.paused);
    windowed = live && startSN > 0;
  });
  function reopen(behind_s, paused) {
    let end_s = 0;
    player.once(Events.LEVEL_LOADED, (_, loaded) => (end_s = loaded.details.totalduration));
    // Positions agree only when counted from the end.
    const goOn = () => {
      if (player.media !== video) return; // the engine was destroyed
      video.currentTime = Math.max(0, end_s - behind_s);
      if (!paused) video.play().catch(() => {});
    };
    video.addEventListener("loadedmetadata", goOn, { once: true });
    player.loadSource(address);
  }
  player.loadSource(address);
  player.attachMedia(video);

  return {
    name: "hls.js",
    live: () => Boolean(details()?.live),
    range: () => seekableRange(video),
    latency_s: () => finite(player.latency),
    target_s: () => finite(player.targetLatency) ?? 6,
    goLive: () => (video.currentTime = player.liveSyncPosition ?? seekableRange(video).end_s),
    qualities: () => player.levels.filter((l) => l.height).map(asQuality).sort(byHeight),
    choose(key) {
      chosen = key;
      apply();
    },
    current() {
      const level = player.levels[player.currentLevel];
      return level?.height ? asQuality(level) : null;
    },
    ...nativeCaptions(video),
    destroy: () => player.destroy(),
  };
}

function openNative(video, address, tell) {
  const failed = () => tell.problem(video.error?.code === MediaError.MEDIA_ERR_NETWORK ? "network" : "media", video.error?.message);
  const changed = () => tell.changed();
  video.addEventListener("error", failed);
  video.addEventListener("loadedmetadata", changed);
  video.src = address;
  return {
    name: "native HLS",
    live: () => video.duration === Infinity,
    range: () => seekableRange(video),
    latency_s() {
      // The playlist's start date (EXT-X-PROGRAM-DATE-TIME) tells when the current frame was captured.
      const start = video.getStartDate?.().getTime();
      return this.live() && Number.isFinite(start) ? (Date.now() - start) / 1000 - video.currentTime : null;
    },
    target_s: () => 8,
    goLive: () => (video.currentTime = seekableRange(video).end_s),
    qualities: () => [],
    choose() {},
    current: () => (video.videoHeight ? { key: "", width: video.videoWidth, height: video.videoHeight, fps: 0, bps: 0 } : null),
    ...nativeCaptions(video),
    destroy() {
      video.removeEventListener("error", failed);
      video.removeEventListener("loadedmetadata", changed);
      video.removeAttribute("src");
      video.load();
    },
  };
}

const finite = (number) => (Number.isFinite(number) && number > 0 ? number : null);
