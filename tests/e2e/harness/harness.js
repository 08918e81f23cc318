// Plays ?src= with ?player= and keeps a report in window.report that tests read.
import { watch } from "./report.js";

const parameters = new URLSearchParams(location.search);
const player = parameters.get("player");
const video = document.getElementById("video");
const report = watch(video);
window.report = report;

try {
  const { start } = await import(`./${player}.js`);
  window.player = await start(video, parameters.get("src"), report);
} catch (error) {
  report.fail(`${player} did not start`, error);
}
