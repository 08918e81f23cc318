// What happened while a video element played: errors, stalls, jumps, what was played and how many frames were shown.

const TICK_MS = 100;
// A picture that stands for this long is a stall, whether the browser says so or not.
const FROZEN_MS = 1000;
// Rounding of the last audio or video frame at the end of the presentation.
const END_TOLERANCE_S = 0.15;
// So much of what is played belongs to its start.
const START_S = 0.2;

export function watch(video) {
  const report = {
    errors: [],
    stalls: [],
    jumps: [],
    qualities: [],
    started: false,
    ended: false,
    fail(what, detail) {
      report.errors.push(`${what}: ${describe(detail)}`);
    },
    snapshot() {
      const quality = video.getVideoPlaybackQuality();
      return {
        errors: report.errors,
        stalls: report.stalls,
        jumps: report.jumps,
        qualities: report.qualities,
        started: report.started,
        ended: report.ended,
        position_s: video.currentTime,
        duration_s: Number.isFinite(video.duration) ? video.duration : null,
        played: ranges(video.played),
        frames_decoded: quality.totalVideoFrames,
        frames_dropped: quality.droppedVideoFrames,
        height_px: video.videoHeight,
      };
    },
  };
  const atEnd = () => video.ended || video.currentTime >= video.duration - END_TOLERANCE_S;

  // A player that seeks to where it wants to begin, or waits there for more after its first pictures, is not stalling yet.
  let first = null;
  video.addEventListener("timeupdate", () => {
    if (first === null && report.started && video.currentTime > 0) first = video.currentTime;
  });
  const begun = () => first !== null && Math.abs(video.currentTime - first) > START_S;

  video.addEventListener("playing", () => (report.started = true));
  video.addEventListener("ended", () => (report.ended = true));
  video.addEventListener("error", () => report.fail("video element", video.error));
  for (const kind of ["waiting", "stalled"]) {
    video.addEventListener(kind, () => {
      // "stalled" is about the resource that the element itself loads; with media source extensions it means nothing
      // before the first picture.
      if (begun() && !atEnd()) report.stalls.push({ kind, position_s: video.currentTime });
    });
  }
  // Nobody seeks in the harness: a seek after the start is a player that jumps over a hole.
  video.addEventListener("seeking", () => {
    if (begun() && !report.ended) report.jumps.push(video.currentTime);
  });

  let position = -1;
  let movedAt = performance.now();
  let frozen = false;
  setInterval(() => {
    const now = performance.now();
    if (!report.started || video.paused || atEnd() || video.currentTime !== position) {
      position = video.currentTime;
      movedAt = now;
      frozen = false;
    } else if (!frozen && now - movedAt > FROZEN_MS) {
      frozen = true;
      report.stalls.push({ kind: "frozen", position_s: position });
    }
  }, TICK_MS);
  return report;
}

function ranges(timeRanges) {
  return Array.from({ length: timeRanges.length }, (_, i) => [timeRanges.start(i), timeRanges.end(i)]);
}

function describe(detail) {
  if (detail instanceof Error) return `${detail.name}: ${detail.message}`;
  if (detail instanceof MediaError) return `code ${detail.code} ${detail.message}`;
  return typeof detail === "string" ? detail : JSON.stringify(detail);
}
