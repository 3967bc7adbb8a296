// Waits for a condition, until a deadline whose error names it.

import { setTimeout as after } from "node:timers/promises";
import { PATIENCE_MS } from "./limits.js";

/** Between two looks, in ms. */
const LOOK_MS = 20;

/**
 * Waits until `look()` returns something true, and returns that.
 * @param {string} what what is waited for, for the error
 * @param {() => (T|Promise<T>)} look
 * @template T
 */
export async function eventually(what, look) {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > deadline) throw new Error(`waited ${PATIENCE_MS} ms in vain for ${what}`);
    await after(LOOK_MS);
  }
}
