// Which addresses may be played, and which file of a broadcast suits which player.

const MEDIA = new URL("/media/", location.origin);

/**
 * The addresses of a broadcast: {dash, hls, page}, each absolute. `text` is what ?src= says: a manifest, a playlist or
 * the folder of a broadcast. Null if it isn't an http(s) address.
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

/** Whether this page may play from there: from its own server, and from those that its server names (see page.json). */
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

// As in a content security policy, which says the same to the browser: "https://*.example.org" means every host below it.
function matches(pattern, origin) {
  const [head, tail] = pattern.split("*");
  return tail === undefined ? new URL(pattern).origin === origin : origin.startsWith(head) && origin.endsWith(tail);
}

/** Address of a path of broadcasts.json, or null if that leads out of /media/. */
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
