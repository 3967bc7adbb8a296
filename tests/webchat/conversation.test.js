// The conversation against the real gateway: streams, cards, queue, history, pictures, directives.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import WebSocket from "ws";
import { ask, launch, open, session, shoot } from "./support/browser.js";
import { withFake } from "./support/fake.js";
import { Gateway, SCRIPTED } from "./support/gateway.js";
import { eventually } from "./support/wait.js";

/** A client that is not the page: asks for a run and waits for its end. */
function elsewhere(gateway, params) {
  const socket = new WebSocket(gateway.url.replace("http", "ws"));
  return new Promise((resolve, reject) => {
    socket.on("error", reject);
    socket.on("open", () => {
      const client = { name: "elsewhere", version: "1.0.0", platform: "node", mode: "test" };
      socket.send(JSON.stringify({ type: "hello", minProtocol: 1, maxProtocol: 1, client }));
    });
    socket.on("message", (data) => {
      const frame = JSON.parse(data);
      if (frame.type === "hello-ok")
        socket.send(JSON.stringify({ type: "req", id: "1", method: "agent", params }));
      if (frame.type !== "res" || frame.payload?.status === "accepted") return;
      socket.close();
      resolve(frame);
    });
  });
}

describe("conversation", () => {
  let browser;
  let gateway;
  let page;
  before(async () => {
    [browser, gateway] = await Promise.all([launch(), Gateway.start({ agent: SCRIPTED })]);
    page = await open(browser, gateway);
  });
  after(async () => {
    await browser?.close();
    await gateway?.remove();
  });

  const answer = (text) => page.locator(".agent", { hasText: text });

  test("an empty conversation says what one can do", async () => {
    await page.getByText("What can I do for you?").waitFor();
    await shoot(page, "empty");
  });

  test("an answer streams as Markdown, between what was thought and called", async () => {
    const text =
      "# A heading\n\nSome **bold** text and `code`.\n\n```rust\nfn main() {}\n```\n\n" +
      "| a | b |\n|---|---|\n| 1 | 2 |";
    await ask(page, `Please [[think Let me see.]] [[tool]] [[say ${text}]]`);
    const item = answer("A heading");
    await item.locator("h1", { hasText: "A heading" }).waitFor();
    await item.locator("strong", { hasText: "bold" }).waitFor();
    await item.locator("td", { hasText: "2" }).waitFor();
    await item.locator(".outcome", { hasText: "done" }).waitFor();
    const cards = item.locator("details");
    assert.equal(await cards.count(), 2);
    assert.equal(await item.getByText("Let me see.").isVisible(), false);
    await cards.first().locator("summary").click();
    await item.getByText("Let me see.").waitFor();
    await cards.last().locator("summary").click();
    await item.getByText("a line\nof output").waitFor();
    await item.locator("pre", { hasText: "README.md" }).waitFor();
    await item.locator("time").waitFor();
    await shoot(page, "answer");
  });

  test("code and messages can be copied", async () => {
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await answer("A heading").getByRole("button", { name: "Copy code" }).click();
    await eventually(
      "the code in the clipboard",
      async () => (await page.evaluate(() => navigator.clipboard.readText())) === "fn main() {}",
    );
    await answer("A heading").getByRole("button", { name: "Copy message" }).click();
    await eventually("the message in the clipboard", async () =>
      (await page.evaluate(() => navigator.clipboard.readText())).startsWith("# A heading"),
    );
  });

  test("a run that waits says so, and stop ends it", async () => {
    await ask(page, "[[hold one]]");
    await page.getByText("holding one", { exact: true }).waitFor();
    await page.getByText("Writing").waitFor();
    await ask(page, "a second thing");
    await page.getByText("Waiting, next").waitFor();
    await shoot(page, "queued");
    await page.locator("#stop").click();
    await eventually("both to be stopped", async () => (await page.getByText("Stopped").count()) === 2);
    assert.equal(await page.locator("#stop").isVisible(), false);
    assert.ok(!gateway.prompts.some((prompt) => prompt.includes("a second thing")));
  });

  test("runs that wait are stopped before the one that works, whose end would begin the next one", async () => {
    await withFake({}, undefined, async (fake) => {
      const own = await open(browser, fake);
      const step = (runId, data) =>
        fake.event("agent", { runId, sessionKey: "main", seq: 1, ts: 1, stream: "lifecycle", data });
      step("r-1", { phase: "started" });
      step("r-2", { phase: "queued", position: 1 });
      await own.getByText("Waiting, next").waitFor();
      await own.locator("#stop").click();
      await eventually("two requests", () => fake.asked("agent-cancel").length === 2);
      assert.deepEqual(
        fake.asked("agent-cancel").map(({ params }) => params.runId),
        ["r-2", "r-1"],
      );
      await own.context().close();
    });
  });

  test("the thinking level goes with the prompt", async () => {
    await page.locator("#thinking").selectOption("high");
    await ask(page, "[[argv]]");
    const said = await answer("--thinking").textContent();
    assert.match(said, /"--thinking", "high"/);
    await page.locator("#thinking").selectOption("");
  });

  test("a run that somebody else asked for appears live, with where it came from", async () => {
    const ended = elsewhere(gateway, {
      message: "[[hold other]] [[say for somebody else]]",
      idempotencyKey: "other-1",
    });
    await page.getByText("holding other").waitFor();
    await page
      .locator(".user", { hasText: "for somebody else" })
      .locator(".origin", { hasText: "elsewhere" })
      .waitFor();
    gateway.release("other");
    assert.equal((await ended).payload.status, "ok");
    await answer("for somebody else").waitFor();
  });

  test("directives are hinted at and carried out", async () => {
    await page.locator("#prompt").fill("/st");
    const hints = page.locator("#hints [role=option]");
    assert.deepEqual(await hints.locator("code").allTextContents(), ["/stop", "/status"]);
    await page.keyboard.press("ArrowDown");
    assert.equal(await hints.nth(1).getAttribute("aria-selected"), "true");
    await shoot(page, "hints");
    await page.keyboard.press("Enter");
    assert.equal(await page.locator("#prompt").inputValue(), "/status");
    await page.keyboard.press("Enter");
    await answer(/The agent is .*: 0 running/).waitFor();
    await page.locator("#prompt").fill("/");
    await page.keyboard.press("Escape");
    assert.equal(await page.locator("#hints").isVisible(), false);
    await page.locator("#prompt").fill("");
  });

  test("pictures come by paste, drop and picker, and are scaled to fit", async () => {
    // Noise does not compress: as PNG this is far more than a frame.
    const large = Buffer.from(
      await page.evaluate(async () => {
        const canvas = new OffscreenCanvas(1_400, 1_400);
        const context = canvas.getContext("2d");
        const image = context.createImageData(1_400, 1_400);
        for (let at = 0; at < image.data.length; at += 65_536) {
          crypto.getRandomValues(image.data.subarray(at, Math.min(at + 65_536, image.data.length)));
        }
        for (let at = 3; at < image.data.length; at += 4) image.data[at] = 255;
        context.putImageData(image, 0, 0);
        const bytes = new Uint8Array(await (await canvas.convertToBlob()).arrayBuffer());
        let text = "";
        for (let at = 0; at < bytes.length; at += 32_768)
          text += String.fromCharCode(...bytes.subarray(at, at + 32_768));
        return btoa(text);
      }),
      "base64",
    );
    assert.ok(large.length > 2 * 1024 * 1024, `${large.length}`);
    await page.locator("#picker").setInputFiles({ name: "noise.png", mimeType: "image/png", buffer: large });
    for (const how of ["paste", "drop"]) {
      await page.locator("#prompt").evaluate(async (field, kind) => {
        const canvas = new OffscreenCanvas(60, 40);
        canvas.getContext("2d").fillRect(0, 0, 30, 40);
        const data = new DataTransfer();
        data.items.add(new File([await canvas.convertToBlob()], `${kind}.png`, { type: "image/png" }));
        const Kind = kind === "paste" ? ClipboardEvent : DragEvent;
        const member = kind === "paste" ? "clipboardData" : "dataTransfer";
        field.dispatchEvent(new Kind(kind, { [member]: data, bubbles: true, cancelable: true }));
      }, how);
    }
    assert.equal(await page.locator("#pictures img").count(), 3);
    await shoot(page, "pictures");
    await page.getByRole("button", { name: "Leave out drop.png" }).click();
    await ask(page, "[[images]]");
    await answer("images=2").waitFor();
    assert.equal(await page.locator(".user", { hasText: "[[images]]" }).locator("img").count(), 2);
    assert.equal(await page.locator("#pictures").isVisible(), false);
  });

  test("a prompt from before a reload can be written again", async () => {
    await page.reload();
    const item = page.locator(".user", { hasText: "[[images]]" });
    await item.hover();
    await item.getByRole("button", { name: "Write again" }).click();
    assert.equal(await page.locator("#prompt").inputValue(), "[[images]]");
    await page.locator("#prompt").fill("");
  });

  test("history comes in pages, and the reader's place is kept", async () => {
    for (let number = 0; number < 45; number += 1) {
      await elsewhere(gateway, {
        message: `[[say line ${number}]]`,
        sessionKey: "dm:telegram:42",
        idempotencyKey: `h-${number}`,
      });
    }
    await session(page, "42").click();
    await page.locator("#session-facts", { hasText: "Telegram" }).waitFor();
    // Answers may be there before the page of history: what was asked is in that page only.
    await page.locator(".user", { hasText: "[[say line 44]]" }).waitFor();
    assert.equal(await page.getByText("line 0", { exact: true }).count(), 0);
    await page.locator("#scroller").evaluate((scroller) => scroller.scrollTo(0, 0));
    await page.getByText("line 0", { exact: true }).waitFor();
    const position = await page.locator("#scroller").evaluate((scroller) => scroller.scrollTop);
    assert.ok(position > 200, `${position}`);
    await page.getByRole("button", { name: "Latest messages" }).click();
    await page.getByRole("button", { name: "Latest messages" }).waitFor({ state: "hidden" });
    assert.equal(await page.locator(".item.user").count(), 45);
    await session(page, "Main").click();
  });

  test("a session can be begun anew and forgotten, but not by accident", async () => {
    await page.getByRole("button", { name: "New conversation" }).click();
    await page.locator("#confirm-no").click();
    assert.ok((await page.locator(".item").count()) > 0);
    await page.getByRole("button", { name: "New conversation" }).click();
    await page.locator("#confirm-yes").click();
    await page.getByText("What can I do for you?").waitFor();
    await session(page, "42").click();
    await page.locator(".agent", { hasText: "line 44" }).waitFor();
    await page.getByRole("button", { name: "Forget this session" }).click();
    await page.getByRole("button", { name: "Forget everything" }).click();
    await page.getByText("What can I do for you?").waitFor();
    assert.deepEqual(page.problems, []);
  });

  test("the libraries that are shipped are the ones that are pinned", () => {
    const folder = new URL("../../src/webchat/", import.meta.url);
    const { dependencies } = JSON.parse(readFileSync(new URL("package.json", folder)));
    const head = (name) => readFileSync(new URL(`vendor/${name}.js`, folder), "utf8").slice(0, 400);
    assert.ok(head("marked").includes(`marked v${dependencies.marked} `));
    assert.ok(head("purify").includes(`DOMPurify ${dependencies.dompurify} `));
  });
});
