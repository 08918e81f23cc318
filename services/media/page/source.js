// Which URLs may be played, and which file of a broadcast each player needs.

const MEDIA = new URL("/media/", location.origin);

/**
 * The absolute URLs {dash, hls} of a broadcast. `text` is the value of ?src=: a manifest, a playlist or the folder of a
 * broadcast. Null if `text` is not an http(s) URL.
 */
export function resolve(text) {
  let url;
  try {
    url = new URL(text, location.origin);
  } catch {
    return null;
  }
  if (url.protocol !== "http:" && url.protocol !== "https:") return null;
  if (url.username || url.password) return null;
  const file = url.pathname.slice(url.pathname.lastIndexOf("/") + 1);
  if (!/\.(mpd|m3u8)$/i.test(file)) {
    url.pathname = `${url.pathname.replace(/\/*$/, "")}/manifest.mpd`;
    return { dash: url.href, hls: sibling(url, "master.m3u8") };
  }
  if (/\.mpd$/i.test(file)) return { dash: url.href, hls: file === "manifest.mpd" ? sibling(url, "master.m3u8") : null };
  return { dash: null, hls: url.href };
}

/** Whether the page may play `source`: from its own server, or from an origin that /page.json lists. */
export async function mayPlay(source) {
  const { origin } = new URL(source.dash ?? source.hls);
  if (origin === location.origin) return true;
  try {
    const { origins } = await (await fetch("/page.json")).json();
    return origins.some((one) => one === "*" || matches(one, origin));
  } catch {
    return false;
  }
}

// As in the Content-Security-Policy, which contains the same list: "https://*.example.org" matches every host below it.
function matches(pattern, origin) {
  const [head, tail] = pattern.split("*");
  return tail === undefined ? new URL(pattern).origin === origin : origin.startsWith(head) && origin.endsWith(tail);
}

/** The URL for a path in broadcasts.json; null if it is outside /media/. */
export function inMedia(path) {
  if (typeof path !== "string" || !path) return null;
  try {
    const url = new URL(path, MEDIA);
    return url.origin === MEDIA.origin && url.pathname.startsWith(MEDIA.pathname) ? url : null;
  } catch {
    return null;
  }
}

function sibling(url, name) {
  const other = new URL(url);
  other.pathname = url.pathname.replace(/[^/]*$/, name);
  return other.href;
}
