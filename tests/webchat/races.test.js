// What a person does at the wrong moment: while pictures are made ready, a page of history is on its
// way, or the page draws itself anew.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ask, connected, launch, open, session } from "./support/browser.js";
import { withFake } from "./support/fake.js";
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
  async function withPage(handlers, body, hello) {
    const listed = { "sessions-list": (params, answer) => answer({ sessions: SESSIONS }) };
    await withFake({ ...listed, ...handlers }, hello, async (fake) => {
      const page = await open(browser, fake);
      await body(page, fake);
      assert.deepEqual(page.problems, []);
      await page.context().close();
    });
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
      await session(page, "42").click();
      await field.fill("for somebody else");
      await page.evaluate(() => globalThis.finish());
      const { params } = await eventually("the prompt", () => fake.asked("agent")[0]);
      assert.deepEqual([params.sessionKey, params.message], ["main", "look at this"]);
      await page.locator("#pictures").waitFor({ state: "hidden" });
      assert.equal(await field.inputValue(), "for somebody else");
      await session(page, "Main").click();
      assert.equal(await field.inputValue(), ", and what comes next");
      assert.equal(fake.asked("agent").length, 1);
    });
  });

  test("runs that the page knows from the record only are stopped in the same order", async () => {
    const record = (number) => ({
      id: `${number}`,
      ts: number,
      role: "user",
      text: `prompt ${number}`,
      runId: `r-${number}`,
    });
    const handlers = {
      "session-history": ({ sessionKey }, answer) =>
        answer({ sessionKey, sessionId: "s-0", messages: [record(3), record(2), record(1)] }),
      status: (params, answer, fail) => fail({ code: "UNAVAILABLE", message: "not now" }),
    };
    const hello = ({ snapshot }) => Object.assign(snapshot.health.agent, { active: 1, queued: 2 });
    const body = async (page, fake) => {
      await page.locator("#stop").waitFor();
      const step = { runId: "r-1", sessionKey: "main", seq: 7, ts: 9, stream: "assistant" };
      fake.event("agent", { ...step, data: { delta: "in the middle" } });
      await page.getByText("in the middle").waitFor();
      await page.locator("#stop").click();
      await eventually("three requests", () => fake.asked("agent-cancel").length === 3);
      assert.deepEqual(
        fake.asked("agent-cancel").map(({ params }) => params.runId),
        ["r-3", "r-2", "r-1"],
      );
    };
    await withPage(handlers, body, hello);
  });

  for (const isRefused of [false, true]) {
    const what = isRefused
      ? "is shown if its history cannot be had"
      : "is shown with its history, and not before";
    test(`a run that ended in a session that was not open ${what}`, async () => {
      const held = [];
      const handlers = {
        "session-history": ({ sessionKey }, answer, fail) =>
          sessionKey === "main"
            ? answer({ sessionKey, sessionId: "s-0", messages: [] })
            : held.push({ answer, fail }),
      };
      await withPage(handlers, async (page, fake) => {
        const step = (seq, stream, data) =>
          fake.event("agent", { runId: "r-1", sessionKey: "dm:telegram:42", seq, ts: seq, stream, data });
        step(1, "lifecycle", { phase: "started" });
        step(2, "assistant", { delta: "an answer" });
        step(3, "lifecycle", { phase: "ended", status: "ok" });
        await page.locator(".session.unread", { hasText: "42" }).click();
        await eventually("its history to be asked for", () => held.length === 1);
        assert.equal(await page.locator(".item").count(), 0);
        const record = (id, role, text) => ({ id, ts: Number(id), role, text, runId: "r-1" });
        const messages = [record("2", "assistant", "an answer"), record("1", "user", "a question")];
        if (isRefused) held[0].fail({ code: "UNAVAILABLE", message: "not now" });
        else held[0].answer({ sessionKey: "dm:telegram:42", sessionId: "s-1", messages });
        await page.locator(".agent", { hasText: "an answer" }).waitFor();
        assert.equal(await page.locator(".item", { hasText: "a question" }).count(), isRefused ? 0 : 1);
      });
    });
  }

  test("a page of history that comes too late changes nothing", async () => {
    const messages = (first, count) =>
      Array.from({ length: count }, (_, at) => ({
        id: `${first - at}`,
        ts: first - at,
        role: "user",
        text: `line ${first - at}`,
      }));
    const held = [];
    let newest = 500;
    await withPage(
      {
        "session-history": ({ sessionKey, before }, answer) => {
          if (before) return held.push({ before, answer });
          const page = { messages: messages(newest, 50), before: `${newest - 49}` };
          return answer({ sessionKey, sessionId: sessionKey, ...page });
        },
      },
      async (page, fake) => {
        await page.getByText("line 500", { exact: true }).waitFor();
        await page.locator("#scroller").evaluate((scroller) => scroller.scrollTo(0, 0));
        await eventually("an older page to be asked for", () => held.length === 1);
        assert.equal(held[0].before, "451");
        // Meanwhile so much is said that the newest page does not reach what is shown.
        newest = 900;
        fake.event("tick", { ts: 1 }, 3);
        await page.getByText("line 900", { exact: true }).waitFor();
        held[0].answer({ sessionKey: "main", sessionId: "main", messages: messages(450, 50), before: "401" });
        await session(page, "42").click();
        await page.locator("#session-title", { hasText: "42" }).waitFor();
        await session(page, "Main").click();
        await page.getByText("line 900", { exact: true }).waitFor();
        assert.equal(await page.getByText("line 450", { exact: true }).count(), 0);
        await page.locator("#scroller").evaluate((scroller) => scroller.scrollTo(0, 0));
        await eventually("the page before the newest", () => held.some(({ before }) => before === "851"));
      },
    );
  });

  test("a session that is opened while an older page is on its way shows its end", async () => {
    const messages = Array.from({ length: 50 }, (_, at) => ({
      id: `${500 - at}`,
      ts: 500 - at,
      role: "user",
      text: `line ${500 - at}`,
    }));
    const held = [];
    await withPage(
      {
        "session-history": ({ sessionKey, before }, answer) =>
          before ? held.push(answer) : answer({ sessionKey, sessionId: sessionKey, messages, before: "451" }),
      },
      async (page, fake) => {
        await page.getByText("line 500", { exact: true }).waitFor();
        await page.locator("#scroller").evaluate((scroller) => scroller.scrollTo(0, 0));
        await eventually("an older page to be asked for", () => held.length === 1);
        await session(page, "42").click();
        await page.getByText("line 500", { exact: true }).waitFor();
        held[0]({ sessionKey: "main", sessionId: "main", messages: [] });
        // Behind the answer, by the same connection.
        fake.event("message", { ...MESSAGE, sessionKey: "dm:telegram:42", id: "m-1" });
        await page.getByText("hi", { exact: true }).waitFor();
        const left = await page
          .locator("#scroller")
          .evaluate(({ scrollHeight, scrollTop, clientHeight }) => scrollHeight - scrollTop - clientHeight);
        assert.ok(left < 5, `${left}`);
      },
    );
  });

  test("neither a click nor the focus is lost when the list of sessions is drawn anew", async () => {
    let messages = 3;
    const list = (params, answer) => answer({ sessions: SESSIONS.map((one) => ({ ...one, messages })) });
    await withPage({ "sessions-list": list }, async (page, fake) => {
      const entry = session(page, "42");
      await entry.focus();
      await entry.hover();
      await page.mouse.down();
      messages = 4;
      fake.event("message", { ...MESSAGE, sessionKey: "dm:telegram:7", id: "m-1" });
      await page.locator('.session[title^="4 messages"]', { hasText: "42" }).waitFor();
      assert.equal(await entry.evaluate((button) => document.activeElement === button), true);
      await page.mouse.up();
      await page.locator("#session-title", { hasText: "42" }).waitFor();
    });
  });

  test("a session that could not be forgotten or begun anew says why", async () => {
    const refuse = (params, answer, fail) => fail({ code: "UNAVAILABLE", message: "the disk is full" });
    await withPage({ "session-reset": refuse, "session-forget": refuse }, async (page) => {
      for (const name of ["New conversation", "Forget this session"]) {
        await page.getByRole("button", { name }).click();
        await page.locator("#confirm-yes").click();
        await page.locator("#composer-note", { hasText: "the disk is full" }).waitFor();
        await page.locator("#composer-note").evaluate((note) => note.replaceChildren());
      }
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
