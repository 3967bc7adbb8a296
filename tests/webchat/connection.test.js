// The connection: lost, refused, silent, restarted; and what was typed meanwhile.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ask, blank, connected, launch, open, shoot } from "./support/browser.js";
import { withFake } from "./support/fake.js";
import { Gateway, SCRIPTED } from "./support/gateway.js";
import { eventually } from "./support/wait.js";

describe("connection", () => {
  let browser;
  before(async () => {
    browser = await launch();
  });
  after(() => browser?.close());

  /** Runs `body` with a gateway that is removed afterwards. */
  async function withGateway(options, body) {
    const gateway = await Gateway.start(options);
    try {
      await body(gateway);
    } finally {
      await gateway.remove();
    }
  }

  test("a gateway that is killed in the middle of an answer costs nothing that was typed", async () => {
    await withGateway({ agent: SCRIPTED }, async (gateway) => {
      const page = await open(browser, gateway);
      await ask(page, "[[hold crash]]");
      await page.getByText("holding crash", { exact: true }).waitFor();
      const before = JSON.parse(await page.evaluate(() => sessionStorage["clawdis.outbox"]));
      await page.locator("#prompt").fill("half a thought");
      await gateway.end("SIGKILL");
      await page.locator("#banner").waitFor();
      await page.locator('#connection[data-state="bad"]').waitFor();
      await shoot(page, "away");
      // Sent while nobody is there: it waits.
      await ask(page, "[[say after the crash]]");
      await page.getByText("Waits for the connection").waitFor();
      await page.locator("#prompt").fill("half a thought");
      await gateway.start();
      await connected(page);
      await page.locator("#banner").waitFor({ state: "hidden" });
      await page.getByText("after the crash", { exact: true }).waitFor();
      // The interrupted run was not done again, and the page says what became of it.
      assert.equal(gateway.prompts.filter((prompt) => prompt.includes("hold crash")).length, 1);
      assert.equal(gateway.prompts.filter((prompt) => prompt.includes("after the crash")).length, 1);
      assert.equal(before.length, 1);
      assert.equal(await page.locator(".user", { hasText: "[[hold crash]]" }).count(), 1);
      await page
        .locator(".item", { hasText: /interrupted|unknown|restart|cancelled|stopped/i })
        .first()
        .waitFor();
      await eventually(
        "the outbox to be empty",
        async () => (await page.evaluate(() => sessionStorage["clawdis.outbox"])) === "[]",
      );
      assert.equal(await page.locator("#prompt").inputValue(), "half a thought");
      await page.reload();
      await connected(page);
      assert.equal(await page.locator("#prompt").inputValue(), "half a thought");
      assert.equal(await page.locator(".user", { hasText: "after the crash" }).count(), 1);
    });
  });

  test("a reload in the middle of an answer joins it again under the same key", async () => {
    await withGateway({ agent: SCRIPTED }, async (gateway) => {
      const page = await open(browser, gateway);
      await ask(page, "[[hold reload]] [[say the whole answer]]");
      await page.getByText("holding reload").waitFor();
      await page.reload();
      await connected(page);
      await page.getByText("Working; all of it will be here when it is done").waitFor();
      await page.locator("#stop").waitFor();
      gateway.release("reload");
      await page.locator(".agent", { hasText: "the whole answer" }).waitFor();
      assert.equal(await page.locator(".user").count(), 1);
      assert.equal(gateway.prompts.length, 1);
    });
  });

  test("a gateway that stops says so, and is dialled at a click when it is back", async () => {
    await withGateway({}, async (gateway) => {
      const page = await open(browser, gateway);
      await ask(page, "hello there");
      await page.getByText("You said: hello there", { exact: true }).waitFor();
      await page.locator(".card", { hasText: "clock" }).locator(".outcome", { hasText: "done" }).waitFor();
      await gateway.end("SIGTERM");
      await page.locator("#banner-text", { hasText: /The gateway (restarts|was stopped)/ }).waitFor();
      await gateway.start();
      await page.locator("#banner-action").click();
      await connected(page);
    });
  });

  test("a restart says when the gateway is expected back, and is waited for", async () => {
    await withFake({}, undefined, async (fake) => {
      const page = await open(browser, fake);
      fake.event("shutdown", { reason: "an update", restartExpectedMs: 60_000 });
      await page.getByText("The gateway stops: an update.").waitFor();
      fake.cut();
      await page
        .getByText(/The gateway restarts \(an update\); it is expected back in [4-7]\d s\./)
        .waitFor();
      assert.equal(await page.locator("#panel").evaluate((panel) => panel.inert), true);
      await page.getByRole("button", { name: "Try now" }).click();
      await connected(page);
      await page.context().close();
    });
  });

  test("a token is asked for when it is wanted, and kept for the tab", async () => {
    await withGateway({ token: "s3cret-for-tests" }, async (gateway) => {
      const page = await blank(browser);
      await page.goto(gateway.url);
      const field = page.locator("#token");
      await field.waitFor();
      await shoot(page, "token");
      await field.fill("wrong");
      await page.getByRole("button", { name: "Connect" }).click();
      await page.getByText("The gateway does not take this token.").waitFor();
      await field.fill("s3cret-for-tests");
      await page.getByRole("button", { name: "Connect" }).click();
      await connected(page);
      assert.equal(await page.locator("#token-dialog").isVisible(), false);
      await page.reload();
      await connected(page);
      const kept = await page.evaluate(() => [JSON.stringify({ ...localStorage }), location.href]);
      assert.ok(!kept.join().includes("s3cret"), kept.join());
      assert.ok(!gateway.log.includes("s3cret"));
      // Another tab starts without it.
      const other = await page.context().newPage();
      await other.goto(gateway.url);
      await other.locator("#token").waitFor();
    });
  });

  test("a connection that goes silent is given up", async () => {
    await withFake(
      {},
      (hello) => {
        hello.policy.tickIntervalMs = 200;
      },
      async (fake) => {
        const page = await open(browser, fake);
        await eventually("a second hello", () => fake.hellos.length >= 2);
        const [one, two] = fake.hellos;
        assert.equal(one.client.instanceId, two.client.instanceId);
        assert.deepEqual([one.client.mode, one.minProtocol, one.maxProtocol], ["webchat", 1, 1]);
        await page.context().close();
      },
    );
  });

  test("what events that were left out may have told is asked for", async () => {
    await withFake({}, undefined, async (fake) => {
      const page = await open(browser, fake);
      await eventually("the first history", () => fake.asked("session-history").length > 0);
      const before = fake.asked("session-history").length;
      fake.event("tick", { ts: 1 });
      fake.event("tick", { ts: 2 }, 3);
      await eventually(
        "health, presence and history to be asked for",
        () =>
          fake.asked("health").length === 1 &&
          fake.asked("system-presence").length === 1 &&
          fake.asked("session-history").length > before,
      );
      await page.context().close();
    });
  });

  test("a request that was cut off is sent again with its key, and only while the key is young", async () => {
    let answering = false;
    let history = [];
    const handlers = {
      agent: (params, answer) => {
        if (!answering) return;
        answer({ runId: "r-1", status: "accepted" });
        answer({ runId: "r-1", status: "ok", summary: "done" });
      },
      "session-history": ({ sessionKey }, answer) =>
        answer({ sessionKey, sessionId: "s-1", messages: history }),
    };
    await withFake(handlers, undefined, async (fake) => {
      const page = await blank(browser);
      await page.clock.install();
      await page.goto(fake.url);
      await connected(page);
      await ask(page, "first");
      const [{ params }] = await eventually(
        "the prompt",
        () => fake.asked("agent").length === 1 && fake.asked("agent"),
      );
      fake.cut();
      await page.locator("#banner").waitFor();
      await page.clock.runFor(2_000);
      await eventually("the prompt again", () => fake.asked("agent").length === 2);
      assert.deepEqual(fake.asked("agent")[1].params, params);
      // Five minutes later the key must not be used any more: the history knows nothing of it.
      fake.cut();
      await page.locator("#banner").waitFor();
      await page.clock.setSystemTime(Date.now() + 5 * 60_000);
      await page.clock.runFor(20_000);
      await page.getByText(/Not sent: It never arrived/).waitFor();
      assert.equal(fake.asked("agent").length, 2);
      answering = true;
      await page.getByRole("button", { name: "Retry" }).click();
      await eventually("a prompt under a new key", () => fake.asked("agent").length === 3);
      const fresh = fake.asked("agent")[2].params;
      assert.equal(fresh.message, "first");
      assert.notEqual(fresh.idempotencyKey, params.idempotencyKey);
      // And if the history has it, it is shown once, with its answer.
      answering = false;
      await ask(page, "second");
      const { idempotencyKey } = (await eventually("the second prompt", () => fake.asked("agent")[3])).params;
      history = [
        { id: "2", ts: Date.now(), role: "assistant", text: "recorded answer", runId: "r-2" },
        { id: "1", ts: Date.now() - 1, role: "user", text: "second", runId: "r-2", idempotencyKey },
      ];
      fake.cut();
      await page.locator("#banner").waitFor();
      await page.clock.setSystemTime(Date.now() + 11 * 60_000);
      await page.clock.runFor(20_000);
      await page.getByText("recorded answer").waitFor();
      assert.equal(fake.asked("agent").length, 4);
      assert.equal(await page.locator(".user", { hasText: "second" }).count(), 1);
      await page.context().close();
    });
  });

  test("a page that is older than its gateway loads itself anew and keeps the draft", async () => {
    await withFake({}, undefined, async (fake) => {
      const page = await open(browser, fake);
      await page.locator("#prompt").fill("not sent yet");
      fake.build = "two";
      fake.cut();
      await page.locator('html[data-build="two"]').waitFor({ state: "attached" });
      await connected(page);
      assert.equal(await page.locator("#prompt").inputValue(), "not sent yet");
      await page.context().close();
    });
  });

  test("a prompt that is tried again under another key is dated by the gateway's clock, as before", async () => {
    const handlers = {
      agent: (params, answer, fail) => fail({ code: "CONFLICT", message: "the key is another prompt's" }),
    };
    const hello = ({ snapshot }) => {
      snapshot.health.ts = Date.now() - 3_600_000;
    };
    await withFake(handlers, hello, async (fake) => {
      const page = await open(browser, fake);
      await ask(page, "an hour ago");
      await page.getByText("Not sent: the key is").waitFor();
      await page.getByRole("button", { name: "Retry" }).click();
      await eventually("a prompt under a new key", () => fake.asked("agent").length === 2);
      // What was asked is drawn with the next frame: until then the first prompt may still be there.
      await page.evaluate(() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn))));
      const time = await page.locator(".item.user time").getAttribute("datetime");
      assert.ok(Date.parse(time) < Date.now() - 3_000_000, time);
      await page.context().close();
    });
  });

  test("a prompt that is refused before any effect says so, and is tried again with the same key", async () => {
    let full = true;
    const handlers = {
      agent: (params, answer, fail) => {
        if (full) return fail({ code: "RATE_LIMITED", message: "the queue is full", retryable: true });
        answer({ runId: "r-1", status: "accepted" });
        return answer({ runId: "r-1", status: "ok", summary: "done" });
      },
    };
    await withFake(handlers, undefined, async (fake) => {
      const page = await open(browser, fake);
      await ask(page, "try me");
      await page.getByText("Not sent: the queue is full").waitFor();
      full = false;
      await page.getByRole("button", { name: "Retry" }).click();
      await eventually("the second try", () => fake.asked("agent").length === 2);
      const [one, two] = fake.asked("agent");
      assert.deepEqual(one.params, two.params);
      await page.getByText("Not sent").waitFor({ state: "detached" });
      await page.context().close();
    });
  });
});
