// The controls of the player (play, seek, volume, live edge, quality, full screen) for pointer, touch and keyboard.

import { bitrate, clock, qualityName, spoken } from "./format.js";

const SHOW_MS = 3000;
const $ = (id) => document.getElementById(id);
const icon = (button, name) => button.querySelector("use").setAttribute("href", `#i-${name}`);

/** Connect the controls to `video`. `engine()` returns the current engine or null. Returns {refresh, reset}. */
export function connect(video, engine) {
  const stage = $("stage");
  const seek = $("seek");
  let dragging = false;
  let hideTimer = 0;
  let wasPaused = null;
  let captioned = false;

  const range = () => engine()?.range() ?? { start_s: 0, end_s: 0 };
  const live = () => engine()?.live() ?? false;
  // Clearly further behind the live edge than the player intends to be.
  const away = () => live() && range().end_s - video.currentTime > engine().target_s() + 10;

  function toggle() {
    if (!engine()) return;
    if (!video.paused) return video.pause();
    if (video.ended) seekTo(range().start_s);
    video.play().catch(() => {});
  }
  function seekTo(position_s) {
    const { start_s, end_s } = range();
    video.currentTime = Math.min(Math.max(position_s, start_s), Math.max(start_s, end_s - 0.1));
    refresh();
  }
  function goLive() {
    if (!live()) return;
    engine().goLive();
    video.play().catch(() => {});
  }
  function toggleMute() {
    video.muted = !video.muted;
    if (!video.muted && video.volume === 0) video.volume = 0.5;
  }
  function toggleCaptions() {
    if (!engine()?.captions()) return;
    captioned = !captioned;
    engine().caption(captioned);
    refreshCaptions();
  }
  function refreshCaptions() {
    $("captions").hidden = !engine()?.captions();
    $("captions").setAttribute("aria-pressed", captioned);
  }
  function toggleFullscreen() {
    if (document.fullscreenElement) document.exitFullscreen();
    else if (stage.requestFullscreen) stage.requestFullscreen().catch(() => {});
    // On iPhones only the video element itself can be full screen.
    else video.webkitEnterFullscreen?.();
  }

  function awake() {
    stage.classList.remove("idle");
    clearTimeout(hideTimer);
    hideTimer = setTimeout(() => {
      const busy = video.paused || dragging || $("controls").querySelector(":focus-visible");
      stage.classList.toggle("idle", !busy);
    }, SHOW_MS);
  }

  function refresh() {
    if (!engine()) return;
    const { start_s, end_s } = range();
    const isLive = live();
    if (!dragging) {
      seek.min = start_s;
      seek.max = Math.max(end_s, start_s + 0.1);
      seek.value = video.currentTime;
    }
    const length = Math.max(end_s - start_s, 0.1);
    const share = (s) => `${Math.min(100, Math.max(0, ((s - start_s) / length) * 100))}%`;
    const at = dragging ? Number(seek.value) : video.currentTime;
    const { buffered } = video;
    const upTo = Array.from({ length: buffered.length }, (_, i) => i).find((i) => buffered.start(i) <= at + 0.3 && at <= buffered.end(i));
    seek.parentElement.style.setProperty("--played", share(at));
    seek.parentElement.style.setProperty("--buffered", share(upTo === undefined ? at : buffered.end(upTo)));
    const behind = end_s - at;
    seek.setAttribute("aria-valuetext", isLive ? `${spoken(behind)} behind the live edge` : `${spoken(at - start_s)} of ${spoken(length)}`);
    $("time").textContent = isLive ? (away() ? `−${clock(behind)}` : "") : `${clock(at - start_s)} / ${clock(length)}`;

    const goLiveButton = $("go-live");
    goLiveButton.hidden = !isLive;
    goLiveButton.classList.toggle("away", away());
    goLiveButton.setAttribute("aria-label", away() ? "Jump to the live edge" : "At the live edge");
    const latency_s = isLive ? engine().latency_s() : null;
    $("latency").hidden = latency_s === null;
    $("latency").textContent = latency_s === null ? "" : `${latency_s.toFixed(1)} s latency`;

    if (wasPaused !== video.paused) {
      wasPaused = video.paused;
      icon($("play"), wasPaused ? "play" : "pause");
      $("play").setAttribute("aria-label", wasPaused ? "Play" : "Pause");
      awake();
    }
    refreshCaptions();
    $("big-play").hidden = !video.paused || video.ended || !$("problem").hidden || video.currentTime > 0;
  }

  function refreshSound() {
    const silent = video.muted || video.volume === 0;
    icon($("mute"), silent ? "muted" : "sound");
    $("mute").setAttribute("aria-label", silent ? "Turn sound on" : "Mute");
    $("volume").value = silent ? 0 : video.volume;
    if (!silent) $("unmute").hidden = true;
  }

  /** Update the list of qualities and keep the choice. */
  function refreshQualities() {
    const list = $("quality");
    const chosen = list.value;
    const qualities = engine()?.qualities() ?? [];
    const now = engine()?.current();
    const named = new Map(qualities.map((quality) => [quality.key, quality]));
    const wanted = [["", now && !chosen ? `Auto · ${qualityName(now)}` : "Auto"]];
    for (const [key, quality] of [...named].reverse()) wanted.push([key, `${qualityName(quality)} · ${bitrate(quality.bps)}`]);
    list.parentElement.hidden = named.size < 2;
    if (wanted.map(String).join() === Array.from(list.options, (o) => `${o.value},${o.text}`).join()) return;
    list.replaceChildren(...wanted.map(([key, text]) => new Option(text, key)));
    list.value = named.has(chosen) ? chosen : "";
  }

  const keys = {
    " ": toggle,
    k: toggle,
    m: toggleMute,
    f: toggleFullscreen,
    c: toggleCaptions,
    l: goLive,
    arrowleft: () => seekTo(video.currentTime - 5),
    arrowright: () => seekTo(video.currentTime + 5),
    j: () => seekTo(video.currentTime - 10),
    home: () => seekTo(range().start_s),
    end: () => (live() ? goLive() : seekTo(range().end_s)),
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || $("watch").hidden) return;
    const key = event.key.toLowerCase();
    const on = event.target;
    // A focused control keeps the keys that it handles itself.
    if (on.closest("select") || (key === " " && on.closest("button, a"))) return;
    if (on === $("volume") && /^(arrow|home|end)/.test(key)) return;
    if (!keys[key]) return;
    event.preventDefault();
    awake();
    keys[key]();
  });

  $("play").addEventListener("click", toggle);
  $("big-play").addEventListener("click", toggle);
  $("mute").addEventListener("click", toggleMute);
  $("unmute").addEventListener("click", toggleMute);
  $("go-live").addEventListener("click", goLive);
  $("fullscreen").addEventListener("click", toggleFullscreen);
  $("captions").addEventListener("click", toggleCaptions);
  $("volume").addEventListener("input", ({ target }) => {
    video.volume = Number(target.value);
    video.muted = video.volume === 0;
  });
  $("quality").addEventListener("change", ({ target }) => {
    engine()?.choose(target.value || null);
    refreshQualities();
  });
  seek.addEventListener("input", () => {
    dragging = true;
    refresh();
  });
  seek.addEventListener("change", () => {
    dragging = false;
    seekTo(Number(seek.value));
  });
  const hint = $("seek-hint");
  seek.addEventListener("pointermove", (event) => {
    const box = seek.getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    const { start_s, end_s } = range();
    hint.hidden = false;
    hint.textContent = live() ? `−${clock((1 - share) * (end_s - start_s))}` : clock(share * (end_s - start_s));
    hint.style.left = `${share * 100}%`;
  });
  seek.addEventListener("pointerleave", () => (hint.hidden = true));
  video.addEventListener("click", () => {
    // On a touch screen the first tap only shows the controls.
    if (matchMedia("(hover: none)").matches && stage.classList.contains("idle")) return awake();
    toggle();
  });
  video.addEventListener("dblclick", toggleFullscreen);
  for (const event of ["pointermove", "pointerdown", "focusin"]) stage.addEventListener(event, awake);
  for (const event of ["play", "pause", "ended", "timeupdate", "progress", "seeked", "durationchange"]) video.addEventListener(event, refresh);
  video.addEventListener("volumechange", refreshSound);
  setInterval(refresh, 500);
  refreshSound();

  return {
    refresh() {
      refreshQualities();
      refresh();
    },
    reset() {
      $("quality").replaceChildren();
      captioned = false;
      wasPaused = null;
    },
  };
}
