import { MediaPlayer } from "/vendor/dashjs/dist/modern/esm/dash.all.min.js";

export async function start(video, source, report) {
  const player = MediaPlayer().create();
  const events = MediaPlayer.events;
  player.updateSettings({ debug: { logLevel: 1 } });
  player.on(events.ERROR, ({ error }) => report.fail("dash.js", { code: error?.code, message: error?.message ?? error }));
  player.on(events.PLAYBACK_ERROR, ({ error }) => report.fail("dash.js playback", { message: String(error?.message ?? error) }));
  player.on(events.STREAM_INITIALIZED, () => {
    report.qualities = player.getRepresentationsByType("video").map(({ height, bandwidth }) => ({ height, bandwidth }));
  });
  player.initialize(video, source, true);
  return player;
}
