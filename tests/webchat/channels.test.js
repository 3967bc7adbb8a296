// A messaging channel beside the page: what somebody writes there, seen here as it happens.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ask, launch, open, session, shoot } from "./support/browser.js";
import { Gateway, SCRIPTED } from "./support/gateway.js";
import { Telegram } from "./support/telegram.js";
import { eventually } from "./support/wait.js";

describe("channels", () => {
  let browser;
  let telegram;
  let gateway;
  let page;
  before(async () => {
    [browser, telegram] = await Promise.all([launch(), Telegram.start()]);
    gateway = await Gateway.start({
      agent: SCRIPTED,
      config: telegram.config("42"),
      token: "a-token-for-channels",
    });
    page = await open(browser, gateway);
  });
  after(async () => {
    await browser?.close();
    await gateway?.remove();
    telegram?.stop();
  });

  const badge = (item) => item.locator(".origin", { hasText: "Telegram" });

  test("the owner's turns on Telegram appear live in the one conversation, once", async () => {
    await ask(page, "[[say from the page]]");
    await page.getByText("from the page", { exact: true }).waitFor();
    telegram.write("42", "Alex", "[[hold chat]] [[say for the phone]]");
    const question = page.locator(".item.user", { hasText: "for the phone" });
    await badge(question).waitFor();
    await page.getByText("holding chat").waitFor();
    gateway.release("chat");
    await eventually("the answer on Telegram", () =>
      telegram.sent.some((text) => text.includes("for the phone")),
    );
    await page.locator(".agent", { hasText: "for the phone" }).waitFor();
    await page.locator("#channel-telegram dd.good", { hasText: "ready" }).waitFor();
    assert.deepEqual(await counts(), { asked: 1, answered: 1 });
    await shoot(page, "telegram");
    // The record says the same.
    await page.reload();
    await badge(question).waitFor();
    assert.deepEqual(await counts(), { asked: 1, answered: 1 });
  });

  test("an answer that does not arrive says so", async () => {
    telegram.blocked = true;
    telegram.write("42", "Alex", "[[say nobody reads this]]");
    const answer = page.locator(".agent", { hasText: "nobody reads this" });
    await answer.getByText(/Not delivered: .*blocked/).waitFor();
    assert.equal(await answer.count(), 1);
    telegram.blocked = false;
  });

  test("somebody who is not allowed is listed, and let in from the page", async () => {
    telegram.write("43", "Kim", "may I?");
    await eventually("Kim in the list", async () => {
      await page.reload();
      await page.locator(".card-beats").waitFor();
      return page.getByText("Kim (43)").isVisible();
    });
    await page.getByRole("button", { name: "Allow" }).click();
    await page.locator(".card-refused").waitFor({ state: "hidden" });
    telegram.write("43", "Kim", "[[say welcome]]");
    await session(page, "43").click();
    await page.locator(".agent", { hasText: "welcome" }).waitFor();
    assert.deepEqual(page.problems, []);
  });

  async function counts() {
    return {
      asked: await page.locator(".item.user", { hasText: "for the phone" }).count(),
      answered: await page.locator(".item.agent", { hasText: "for the phone" }).count(),
    };
  }
});
