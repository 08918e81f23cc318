// The build registers a global instead of exporting.
import "/vendor/shaka-player/dist/shaka-player.compiled.js";

export async function start(video, source, report) {
  const { shaka } = window;
  shaka.polyfill.installAll();
  const player = new shaka.Player();
  player.addEventListener("error", ({ detail }) =>
    report.fail("shaka-player", { category: detail.category, code: detail.code, severity: detail.severity, message: detail.message }),
  );
  // Without this, playback may begin before the position that shaka-player wants to begin at, if that is inside the first
  // segment; it then fills its buffer for that position and never again (docs/reference/manifests.md).
  player.configure("streaming.startAtSegmentBoundary", true);
  await player.attach(video);
  await player.load(source);
  report.qualities = player.getVariantTracks().map(({ height, bandwidth }) => ({ height, bandwidth }));
  await video.play();
  return player;
}
