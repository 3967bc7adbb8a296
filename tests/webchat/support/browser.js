// Chromium, driven without a window, and what tests do in a page.

import { mkdirSync } from "node:fs";
import path from "node:path";
import { chromium } from "playwright-core";
import { SHOTS } from "./gateway.js";
import { BROWSER_MS, PATIENCE_MS } from "./limits.js";

/** A desktop's and a phone's screen. */
export const DESKTOP = { viewport: { width: 1440, height: 900 } };
export const PHONE = {
  viewport: { width: 390, height: 844 },
  hasTouch: true,
  isMobile: true,
  deviceScaleFactor: 2,
};

/** Starts the browser. */
export function launch() {
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    timeout: BROWSER_MS,
    args: [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

/**
 * A page with nothing remembered, that fails the test on any error of its own.
 * @param {import("playwright-core").Browser} browser
 * @param {object} [options] as of Playwright's contexts
 */
export async function blank(browser, options = {}) {
  const context = await browser.newContext({
    ...DESKTOP,
    locale: "en-GB",
    reducedMotion: "reduce",
    ...options,
  });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  page.problems = [];
  page.requested = [];
  page.on("pageerror", (error) => page.problems.push(`${error}`));
  page.on("console", (message) => message.type() === "error" && page.problems.push(message.text()));
  page.on("request", (request) => page.requested.push(request.url()));
  page.on("websocket", (socket) => page.requested.push(socket.url()));
  return page;
}

/** Opens a gateway's page and waits until it is connected. */
export async function open(browser, gateway, options) {
  const page = await blank(browser, options);
  await page.goto(gateway.url);
  if (gateway.token) {
    await page.locator("#token").fill(gateway.token);
    await page.getByRole("button", { name: "Connect" }).click();
  }
  await connected(page);
  return page;
}

/** Waits until the page says that it is connected. */
export async function connected(page) {
  await page.locator('#connection[data-state="good"]').waitFor();
}

/** The entry of a session in the list, by its name: its age may hold any number. */
export function session(page, name) {
  const named = page.locator(".session-name", { hasText: new RegExp(`^${name}$`) });
  return page.locator(".session", { has: named });
}

/** Types a prompt and sends it. */
export async function ask(page, text) {
  await page.locator("#prompt").fill(text);
  await page.locator("#submit").click();
}

/** Writes a picture of the page to a folder outside of git. */
export async function shoot(page, name) {
  mkdirSync(SHOTS, { recursive: true });
  await page.screenshot({ path: path.join(SHOTS, `${name}.png`) });
}
