// How it looks and who can use it: phone and desktop, dark and light, keyboard and screen reader.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { after, before, describe, test } from "node:test";
import { ask, connected, DESKTOP, launch, open, PHONE, session, shoot } from "./support/browser.js";
import { withFake } from "./support/fake.js";
import { Gateway, SCRIPTED } from "./support/gateway.js";
import { LIVE, scene } from "./support/scene.js";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const SCREENS = {
  "desktop-light": { ...DESKTOP, colorScheme: "light" },
  "desktop-dark": { ...DESKTOP, colorScheme: "dark" },
  "tablet-light": { viewport: { width: 900, height: 1_100 }, colorScheme: "light" },
  "phone-light": { ...PHONE, colorScheme: "light" },
  "phone-dark": { ...PHONE, colorScheme: "dark" },
};
const ANSWER =
  "Here is what I found.\n\n- **One** thing, and `another`\n- [a link](https://example.org/)\n\n" +
  '```js\nconst answer = await ask("a rather long line of code that has to scroll on a phone");\n' +
  "```\n\n> A quotation.\n\n| name | value |\n|---|---|\n| first | 1 |\n| second | 2 |\n\nThat is all. ";

/** Fails on anything that axe calls serious or worse. */
async function accessible(page, what) {
  await page.evaluate(AXE);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
  const found = serious.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(" ")}`);
  assert.deepEqual(found, [], what);
}

/** Fails if the page is wider than its screen. */
async function fits(page, what) {
  const width = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(width[0] <= width[1], `${what}: ${width[0]} pixels wide on a screen of ${width[1]}`);
}

describe("looks", () => {
  let browser;
  let gateway;
  before(async () => {
    [browser, gateway] = await Promise.all([launch(), Gateway.start({ agent: SCRIPTED })]);
    const page = await open(browser, gateway);
    await ask(page, `[[think A thought.]] [[tool]] ${gateway.answering(ANSWER)}`);
    await page.getByText("A quotation.", { exact: true }).waitFor();
    await page.context().close();
  });
  after(async () => {
    await browser?.close();
    await gateway?.remove();
  });

  for (const [name, screen] of Object.entries(SCREENS)) {
    test(`${name}: everything is there, fits and can be read aloud`, async () => {
      const page = await open(browser, gateway, screen);
      await page.getByText("A quotation.", { exact: true }).last().waitFor();
      await ask(page, `[[think Looking at it.]] [[tool]] ${gateway.answering(ANSWER)} [[hold ${name}]]`);
      await page.getByText(`holding ${name}`).waitFor();
      await fits(page, name);
      await shoot(page, `${name}-conversation`);
      await accessible(page, `${name}: conversation`);
      const isPhone = name.startsWith("phone");
      if (!name.startsWith("desktop")) {
        await page.locator("#connection").click();
        await page.locator("#status.open").waitFor();
        await fits(page, `${name}: status`);
        await shoot(page, `${name}-status`);
        await accessible(page, `${name}: status`);
        await page.keyboard.press("Escape");
        await page.locator("#status.open").waitFor({ state: "detached" });
      }
      if (isPhone) {
        await page.getByRole("button", { name: "Show the sessions" }).click();
        await page.locator("#sessions.open").waitFor();
        await shoot(page, `${name}-sessions`);
        await accessible(page, `${name}: sessions`);
        await session(page, "Main").click();
        await page.locator("#sessions.open").waitFor({ state: "detached" });
      }
      gateway.release(name);
      await page.locator("#stop").waitFor({ state: "hidden" });
      await page.locator("#prompt").fill("/");
      await page.locator("#hints").waitFor();
      await accessible(page, `${name}: hints`);
      assert.deepEqual(page.problems, []);
      await page.context().close();
    });
  }

  test("everything can be done with a keyboard", async () => {
    const page = await open(browser, gateway);
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the message field");
    await page.keyboard.press("Enter");
    await page.locator("#prompt:focus").waitFor();
    await page.keyboard.type("[[hold keys]]");
    await page.keyboard.press("Shift+Enter");
    await page.keyboard.type("second line");
    assert.equal(await page.locator("#prompt").inputValue(), "[[hold keys]]\nsecond line");
    await page.keyboard.press("Enter");
    await page.getByText("holding keys").waitFor();
    await page.locator("#stop").focus();
    await page.keyboard.press("Enter");
    await page.locator("#stop").waitFor({ state: "hidden" });
    await page.locator("#announcer", { hasText: "cancelled" }).waitFor({ state: "attached" });
    // Every control that can be seen can be reached.
    const missed = await page.evaluate(() =>
      [...document.querySelectorAll("button, select, textarea, a[href], summary")]
        .filter((element) => element.checkVisibility() && !element.closest("[inert]") && element.tabIndex < 0)
        .map((element) => element.outerHTML),
    );
    assert.deepEqual(missed, []);
    await page.context().close();
  });

  test("the picture of the README", async () => {
    await withFake(...scene(), async (fake) => {
      const page = await open(browser, fake, {
        viewport: { width: 1280, height: 800 },
        colorScheme: "light",
      });
      await page.getByText("Two things for today").waitFor();
      const step = { runId: "r-9", sessionKey: "main", ts: Date.now() };
      for (const [index, [stream, data]] of LIVE.entries())
        fake.event("agent", { ...step, seq: index + 1, stream, data });
      await page.getByText("Writing").waitFor();
      await accessible(page, "the picture of the README");
      await shoot(page, "readme");
      await page.context().close();
    });
  });

  test("the token dialog can be read aloud", async () => {
    const closed = await Gateway.start({ token: "a-token-for-looks" });
    try {
      const page = await (await browser.newContext(PHONE)).newPage();
      await page.goto(closed.url);
      await page.locator("#token").waitFor();
      await fits(page, "token");
      await accessible(page, "token");
      await page.locator("#token").fill("a-token-for-looks");
      await page.keyboard.press("Enter");
      await connected(page);
      await page.context().close();
    } finally {
      await closed.remove();
    }
  });
});
