// Formats numbers for people.

/** Seconds as 4:05 or 1:02:03. */
export function clock(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const tail = `${h ? String(m).padStart(2, "0") : m}:${String(s).padStart(2, "0")}`;
  return h ? `${h}:${tail}` : tail;
}

/** Seconds in words, for screen readers. */
export function spoken(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [[Math.floor(whole / 3600), "hour"], [Math.floor(whole / 60) % 60, "minute"], [whole % 60, "second"]];
  const words = parts.filter(([n]) => n).map(([n, unit]) => `${n} ${unit}${n === 1 ? "" : "s"}`);
  return words.join(" ") || "0 seconds";
}

/** A time (milliseconds since 1970) in the format of the viewer's locale. */
export function moment(unixMs) {
  return new Date(unixMs).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
}

/** The usual name of a quality, which counts lines of the shorter side; portrait video too. */
export function qualityName({ width, height, fps }) {
  const side = width && height ? Math.min(width, height) : height;
  return side ? `${side}p${fps > 31 ? Math.round(fps) : ""}` : "audio";
}

/** Bits per second as 2.8 Mbit/s. */
export function bitrate(bps) {
  return bps >= 1e6 ? `${(bps / 1e6).toFixed(1)} Mbit/s` : `${Math.round(bps / 1e3)} kbit/s`;
}
