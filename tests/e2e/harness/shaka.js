// The build registers a global instead of exporting.
import "/vendor/shaka-player/dist/shaka-player.compiled.js";

export async function start(video, source, report) {
  const { shaka } = window;
  shaka.polyfill.installAll();
  const player = new shaka.Player();
  player.addEventListener("error", ({ detail }) =>
    report.fail("shaka-player", { category: detail.category, code: detail.code, severity: detail.severity, message: detail.message }),
  );
  await player.attach(video);
  await player.load(source);
  report.qualities = player.getVariantTracks().map(({ height, bandwidth }) => ({ height, bandwidth }));
  await video.play();
  return player;
}
