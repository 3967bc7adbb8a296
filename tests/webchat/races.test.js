// What a person does at the wrong moment: while pictures are made ready, a page of history is on its
// way, or the page draws itself anew.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ask, connected, launch, open } from "./support/browser.js";
import { Fake } from "./support/fake.js";
import { eventually } from "./support/wait.js";

const SESSIONS = ["main", "dm:telegram:42"].map((sessionKey, number) => ({
  sessionKey,
  sessionId: `s-${number}`,
  updatedTs: 1_000 - number,
  messages: 3,
}));

const MESSAGE = { ts: 1_000, channel: "telegram", direction: "in", from: "Kim", text: "hi" };

describe("races", () => {
  let browser;
  before(async () => {
    browser = await launch();
  });
  after(() => browser?.close());

  /** Runs `body` with a page at a gateway that has two sessions and answers as `handlers` say. */
  async function withPage(handlers, body) {
    const fake = await Fake.start({
      "sessions-list": (params, answer) => answer({ sessions: SESSIONS }),
      ...handlers,
    });
    try {
      const page = await open(browser, fake);
      await body(page, fake);
      assert.deepEqual(page.problems, []);
      await page.context().close();
    } finally {
      await fake.stop();
    }
  }

  test("while pictures are made ready nothing is sent twice, elsewhere or lost", async () => {
    await withPage({}, async (page, fake) => {
      // They are ready when the test says so.
      await page.evaluate(() => {
        const read = FileReader.prototype.readAsDataURL;
        FileReader.prototype.readAsDataURL = function (blob) {
          globalThis.finish = () => read.call(this, blob);
        };
      });
      const buffer = Buffer.from("R0lGODlhAQABAAAAACwAAAAAAQABAAA=", "base64");
      await page.locator("#picker").setInputFiles({ name: "dot.gif", mimeType: "image/gif", buffer });
      const field = page.locator("#prompt");
      await ask(page, "look at this");
      await page.locator("#submit").click();
      await field.fill("look at this, and what comes next");
      await page.locator(".session", { hasText: "42" }).click();
      await field.fill("for somebody else");
      await page.evaluate(() => globalThis.finish());
      const { params } = await eventually("the prompt", () => fake.asked("agent")[0]);
      assert.deepEqual([params.sessionKey, params.message], ["main", "look at this"]);
      await page.locator("#pictures").waitFor({ state: "hidden" });
      assert.equal(await field.inputValue(), "for somebody else");
      await page.locator(".session", { hasText: "Main" }).click();
      assert.equal(await field.inputValue(), ", and what comes next");
      assert.equal(fake.asked("agent").length, 1);
    });
  });

  test("a page that cannot keep the draft does not load itself anew", async () => {
    await withPage({}, async (page, fake) => {
      await page.evaluate(() => {
        Storage.prototype.setItem = () => {
          throw new DOMException("full", "QuotaExceededError");
        };
      });
      await page.locator("#prompt").fill("nowhere else");
      fake.build = "two";
      fake.cut();
      await page.locator("#banner").waitFor();
      await connected(page);
      await page.locator("#composer-note", { hasText: "A newer version of this page" }).waitFor();
      assert.equal(await page.locator("#prompt").inputValue(), "nowhere else");
      assert.equal(await page.locator("html").getAttribute("data-build"), "one");
    });
  });
});
