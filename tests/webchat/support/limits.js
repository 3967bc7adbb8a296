// The longest times that a test waits, in ms. None is a pause: each wait ends as soon as what it waits for is there.

/** For something that the page or the gateway does by itself within moments, on a busy machine. */
export const PATIENCE_MS = 20_000;
/** For a gateway to serve or to end. */
export const START_MS = 20_000;
/** For Chromium to start. */
export const BROWSER_MS = 60_000;
