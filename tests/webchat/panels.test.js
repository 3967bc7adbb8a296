// The status panel, linking and messages of channels.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import jsqr from "jsqr";
import { ask, launch, open, shoot } from "./support/browser.js";
import { golden, withFake } from "./support/fake.js";
import { Gateway, SCRIPTED } from "./support/gateway.js";
import { eventually } from "./support/wait.js";

describe("panels", () => {
  let browser;
  let gateway;
  let page;
  before(async () => {
    // Not set up, it can be switched off only.
    const config = { telegram: { enabled: true } };
    [browser, gateway] = await Promise.all([launch(), Gateway.start({ agent: SCRIPTED, config })]);
    page = await open(browser, gateway);
  });
  after(async () => {
    await browser?.close();
    await gateway?.remove();
  });

  test("presence is live", async () => {
    const list = page.locator(".card-presence");
    await list.getByText("clawdis-webchat (this page)").waitFor();
    const other = await open(browser, gateway);
    await eventually(
      "two pages in the list",
      async () => (await list.locator("li:not(.gone)", { hasText: "clawdis-webchat" }).count()) === 2,
    );
    await other.context().close();
    await list.locator("li.gone", { hasText: "left" }).waitFor();
  });

  test("health and channels are shown with their facts", async () => {
    const panel = page.locator("#panel");
    await panel.getByText("All good").waitFor();
    await panel.locator("#channel-whatsapp dt", { hasText: "Set up" }).waitFor();
    await panel.locator("#channel-telegram dt", { hasText: "State" }).waitFor();
    // WhatsApp is not set up, so there is nothing to link.
    assert.equal(await panel.getByRole("button", { name: "Link" }).count(), 0);
    await ask(page, "[[hold health]]");
    await panel.locator(".card-agent dd", { hasText: "busy" }).waitFor();
    gateway.release("health");
    await panel.locator(".card-agent dd", { hasText: "idle" }).waitFor();
  });

  test("switches do what they say, on every page", async () => {
    const other = await open(browser, gateway);
    const telegram = page.getByRole("switch", { name: /Telegram/ });
    const before = await telegram.getAttribute("aria-checked");
    await telegram.click();
    await page.locator(`#channel-telegram [role=switch]:not([aria-checked="${before}"])`).waitFor();
    await other.locator(`#channel-telegram [role=switch]:not([aria-checked="${before}"])`).waitFor();
    const beats = page.getByRole("switch", { name: /prompt/ });
    assert.equal(await beats.getAttribute("aria-checked"), "false");
    await beats.click();
    await page.locator('.card-beats [aria-checked="true"]').waitFor();
    await page.reload();
    await page.locator('.card-beats [aria-checked="true"]').waitFor();
    await other.context().close();
  });

  test("the red button pauses everything", async () => {
    await ask(page, "[[hold pause]]");
    await page.getByText("holding pause", { exact: true }).waitFor();
    await page.getByRole("button", { name: "Pause everything" }).click();
    await page.locator("#connection-text", { hasText: "Paused" }).waitFor();
    await page.locator("#stop").waitFor({ state: "hidden" });
    await shoot(page, "paused");
    await ask(page, "while paused");
    await page.getByText(/Not sent: .*pause/).waitFor();
    await page.getByRole("button", { name: "Resume" }).click();
    await page.locator("#connection-text", { hasText: "Connected" }).waitFor();
    await page.locator(".failed").getByRole("button", { name: "Retry" }).click();
    await page.getByText("heard: while paused", { exact: true }).waitFor();
  });

  /** Runs `body` with a page of its own at a fake gateway that answers as `handlers` say. */
  async function withPage(handlers, hello, body) {
    await withFake(handlers, hello, async (fake) => {
      const chat = await open(browser, fake);
      await body(chat, fake);
      assert.deepEqual(chat.problems, []);
      await chat.context().close();
    });
  }

  describe("messages on a channel", () => {
    const INCOMING = {
      channel: "whatsapp",
      sessionKey: "main",
      direction: "in",
      from: "+15550001111",
      text: "from my phone",
    };
    const OUTGOING = {
      channel: "telegram",
      sessionKey: "main",
      direction: "out",
      to: "42",
      text: "**an** answer",
    };
    const MEDIA = [{ kind: "image", mimeType: "image/jpeg", name: "cat.jpg", bytes: 34_567 }];

    /** Runs `body` with a page whose history is what `history` has at that moment. */
    async function withHistory(history, body) {
      const handlers = {
        "session-history": ({ sessionKey }, answer) =>
          answer({ sessionKey, sessionId: "s-1", messages: history }),
      };
      const hello = ({ features }) => features.events.push("message", "channel");
      await withPage(handlers, hello, body);
    }

    test("appear live, with their channel, their files and what became of them", async () => {
      await withHistory([], async (chat, fake) => {
        const ts = Date.now();
        fake.event("message", { ...INCOMING, id: "wa-1", ts, media: MEDIA });
        const item = chat.locator(".item.user", { hasText: "from my phone" });
        await item.locator(".origin", { hasText: "WhatsApp \u00b7 +15550001111" }).waitFor();
        await item.getByText("cat.jpg (image/jpeg, 35 KB)").waitFor();
        const outgoing = { ...OUTGOING, id: "tg-1", ts: ts + 5 };
        fake.event("message", { ...outgoing, status: "queued" });
        await chat.getByText("Queued").waitFor();
        fake.event("message", { ...outgoing, status: "failed", reason: "blocked by the user" });
        await chat.getByText("Not delivered: blocked by the user").waitFor();
        await shoot(chat, "channels");
      });
    });

    test("are shown once when they are on record, with what only the channel knew", async () => {
      const history = [];
      await withHistory(history, async (chat, fake) => {
        fake.event("message", { ...INCOMING, id: "wa-1", ts: Date.now(), media: MEDIA });
        await chat.locator(".item.user", { hasText: "from my phone" }).waitFor();
        const { channel, text } = INCOMING;
        history.push({ id: "7", ts: Date.now(), role: "user", text, channel, from: "Kim", runId: "r-1" });
        fake.event("message", { ...INCOMING, id: "wa-2", ts: Date.now(), text: "and once more" });
        await chat.getByText("and once more").waitFor();
        await chat.locator(".origin", { hasText: "Kim" }).waitFor();
        assert.equal(await chat.getByText("from my phone", { exact: true }).count(), 1);
        assert.equal(await chat.getByText("cat.jpg").count(), 1);
      });
    });

    test("are not shown beside the run that is followed live, which says if they did not arrive", async () => {
      const history = [];
      await withHistory(history, async (chat, fake) => {
        const ts = Date.now();
        const step = { runId: "r-1", sessionKey: "main", ts };
        fake.event("agent", { ...step, seq: 1, stream: "assistant", data: { delta: "the reply" } });
        history.push({ id: "8", ts, role: "assistant", text: "the reply", runId: "r-1" });
        fake.event("agent", { ...step, seq: 2, stream: "lifecycle", data: { phase: "ended", status: "ok" } });
        const part = { ...OUTGOING, channel: "whatsapp", runId: "r-1", ts };
        const failed = { status: "failed", reason: "no such number" };
        fake.event("message", { ...part, id: "out-1", text: "the", ...failed });
        fake.event("message", { ...part, id: "out-2", text: "reply", status: "sent" });
        const answer = chat.locator(".agent", { hasText: "the reply" });
        await answer.getByText("Not delivered: no such number").waitFor();
        assert.equal(await chat.locator(".agent").count(), 1);
      });
    });

    test("only mark a session that is not open", async () => {
      await withHistory([], async (chat, fake) => {
        const elsewhere = { sessionKey: "dm:telegram:42", text: "elsewhere" };
        fake.event("message", { ...INCOMING, ...elsewhere, id: "wa-3", ts: Date.now() });
        await eventually(
          "the list of sessions to be asked for",
          () => fake.asked("sessions-list").length > 1,
        );
        assert.equal(await chat.getByText("elsewhere").count(), 0);
      });
    });
  });

  test("what a person should mend stands in the panel, as text", async () => {
    let warnings = [{ code: "no-token", message: "no token is set: <b>run this</b>" }];
    const handlers = {
      status: (params, answer) => answer({ ...golden("res-status").payload, warnings }),
    };
    await withPage(handlers, undefined, async (chat) => {
      const card = chat.locator(".card-warnings");
      await card.getByText("no token is set: <b>run this</b>").waitFor();
      warnings = [];
      await chat.reload();
      await chat.getByText("Who is here").waitFor();
      await card.waitFor({ state: "hidden" });
    });
  });

  test("a person who was refused can be let in", async () => {
    let refused = [{ channel: "telegram", id: "42", name: "Kim", count: 3, lastTs: Date.now() - 60_000 }];
    const allowed = [];
    const handlers = {
      status: (params, answer) => answer({ ...golden("res-status").payload, refused }),
      "channel-allow": (params, answer) => {
        allowed.push(params);
        refused = [];
        answer({ ...params, allowed: true, owner: false });
      },
    };
    const hello = ({ features }) => features.methods.push("channel-allow");
    await withPage(handlers, hello, async (chat) => {
      const list = chat.locator(".card-refused");
      await list.getByText("Kim (42)").waitFor();
      await list.getByRole("button", { name: "Allow" }).click();
      await list.waitFor({ state: "hidden" });
      assert.deepEqual(allowed, [{ channel: "telegram", id: "42" }]);
    });
  });

  describe("WhatsApp is linked", () => {
    /** Runs `body` with a page that can link WhatsApp, and the `channel-login`s that it asks for. */
    async function withLogins(body) {
      const logins = [];
      const handlers = {
        // Its health would be that of a gateway without channels.
        status: (params, answer, fail) => fail({ code: "UNAVAILABLE", message: "not now" }),
        "channel-login": (params, answer, fail) => {
          logins.push({ params, answer, fail });
          answer({ runId: "l-1", status: "accepted" });
        },
      };
      const hello = ({ features, snapshot }) => {
        features.methods.push("channel-login", "channel-logout");
        Object.assign(snapshot.health.channels.whatsapp, { configured: true, enabled: true, linked: false });
      };
      await withPage(handlers, hello, (chat, fake) => body(chat, fake, logins));
    }

    const openDialog = (chat) => chat.getByRole("button", { name: "Link", exact: true }).click();
    const closeDialog = (chat) => chat.getByRole("button", { name: "Close", exact: true }).click();
    const askForQr = (chat) => chat.getByRole("button", { name: "Show a QR code" }).click();
    const askForCode = async (chat) => {
      await chat.locator("#link-phone").fill("+15550001111");
      await chat.getByRole("button", { name: "Get a code" }).click();
    };

    test("with a QR code that a phone can read, each new one as it comes", async () => {
      await withLogins(async (chat, fake, logins) => {
        await openDialog(chat);
        await askForQr(chat);
        for (const qr of ["2@first,abc,def==", `2@${"second/+=,".repeat(20)}`]) {
          await eventually("the login", () => logins.length === 1);
          fake.event("channel", { channel: "whatsapp", state: "linking", qr, ttlMs: 20_000 });
          await eventually(`the code of ${qr.slice(0, 8)}`, async () => (await read(chat)) === qr);
        }
        await shoot(chat, "linking");
        logins[0].answer({ channel: "whatsapp", state: "ready" });
        await chat.getByText("WhatsApp is linked.").waitFor();
      });
    });

    test("with a code to type, which is still there when the dialog is opened again", async () => {
      await withLogins(async (chat, fake, logins) => {
        await openDialog(chat);
        await askForCode(chat);
        await eventually("the login", () => logins.length === 1);
        assert.deepEqual(logins[0].params, { channel: "whatsapp", method: "code", phone: "+15550001111" });
        fake.event("channel", { channel: "whatsapp", state: "linking", code: "ABCD-EFGH", ttlMs: 60_000 });
        await chat.locator("output", { hasText: "ABCD-EFGH" }).waitFor();
        await closeDialog(chat);
        await openDialog(chat);
        await askForCode(chat);
        await chat.locator("output", { hasText: "ABCD-EFGH" }).waitFor();
        assert.equal(logins.length, 1);
      });
    });

    test("by the last login that was asked for: the end of the one before is not shown", async () => {
      await withLogins(async (chat, fake, logins) => {
        await openDialog(chat);
        await askForCode(chat);
        await eventually("the first login", () => logins.length === 1);
        await closeDialog(chat);
        await openDialog(chat);
        await askForQr(chat);
        await eventually("the second login", () => logins.length === 2);
        await chat.evaluate(() => {
          const body = document.querySelector("#link-body");
          globalThis.shown = [];
          const observer = new MutationObserver(() => globalThis.shown.push(body.textContent));
          observer.observe(body, { childList: true });
        });
        logins[0].fail({ code: "UNAVAILABLE", message: "another login took its place" });
        logins[1].fail({ code: "UNAVAILABLE", message: "nobody scanned it" });
        await chat.getByText("nobody scanned it").waitFor();
        assert.deepEqual(await chat.evaluate(() => globalThis.shown), ["nobody scanned it"]);
      });
    });
  });
});

/** What the drawn QR code says. */
async function read(page) {
  const drawn = await page.evaluate(() => {
    const svg = document.querySelector(".qr");
    return svg && { size: svg.viewBox.baseVal.width, path: svg.querySelector("path").getAttribute("d") };
  });
  if (!drawn) return undefined;
  const scale = 4;
  const edge = drawn.size * scale;
  const pixels = new Uint8ClampedArray(edge * edge * 4).fill(255);
  for (const [, x, y] of drawn.path.matchAll(/M(\d+) (\d+)h1/g)) {
    for (let row = 0; row < scale; row += 1) {
      const start = ((Number(y) * scale + row) * edge + Number(x) * scale) * 4;
      for (let at = start; at < start + scale * 4; at += 1) if (at % 4 !== 3) pixels[at] = 0;
    }
  }
  const decode = jsqr.default ?? jsqr;
  return decode(pixels, edge, edge)?.data;
}
