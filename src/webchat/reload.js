// Loads the page anew when the gateway serves a newer build of it. Called by main.js after each `hello-ok`, and when
// the gateway refuses the page.

import { reloadedFor } from "./storage.js";

/**
 * Reloads the page if the gateway serves another build than this one; each build only once.
 * @param {string} build of this page
 * @param {() => boolean} mayReload asked if there is another build: whether nothing would be lost
 */
export async function reloadIfOlder(build, mayReload) {
  const answer = await fetch("/", { method: "HEAD", cache: "no-store" }).catch(() => undefined);
  const served = /"(\w+)"/.exec(answer?.headers.get("etag") ?? "")?.[1];
  if (!served || served === build || reloadedFor.get() === served) return;
  if (!mayReload()) return;
  reloadedFor.set(served);
  location.reload();
}
