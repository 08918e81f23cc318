import Hls from "/vendor/hls.js/dist/hls.min.mjs";

export async function start(video, source, report) {
  const player = new Hls({ debug: false });
  player.on(Hls.Events.ERROR, (_, { type, details, fatal, reason, error }) =>
    report.fail("hls.js", { type, details, fatal, reason, message: error?.message }),
  );
  player.on(Hls.Events.MANIFEST_PARSED, (_, { levels }) => {
    report.qualities = levels.map(({ height, bitrate }) => ({ height, bandwidth: bitrate }));
    video.play().catch((error) => report.fail("play", error));
  });
  player.loadSource(source);
  player.attachMedia(video);
  return player;
}
