// What must never work: a page that takes an address to dial from its own, a page of somebody else, a model that
// writes script, a frame around the page.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { connect, createServer as createProxy } from "node:net";
import { after, before, describe, test } from "node:test";
import { ask, blank, connected, launch, open } from "./support/browser.js";
import { Gateway, SCRIPTED } from "./support/gateway.js";
import { eventually } from "./support/wait.js";

const listening = (server) =>
  new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(server.address().port)));

describe("security", () => {
  let browser;
  let gateway;
  before(async () => {
    [browser, gateway] = await Promise.all([launch(), Gateway.start({ agent: SCRIPTED })]);
  });
  after(async () => {
    await browser?.close();
    await gateway?.remove();
  });

  test("the page takes no address and no token out of the address that it was opened with", async () => {
    const hostile = "ws://127.0.0.1:9/";
    const page = await blank(browser);
    const names = ["gatewayUrl", "gateway", "url", "ws", "token", "host", "session", "sessionKey"];
    const query = names.map((name) => `${name}=${encodeURIComponent(hostile)}`).join("&");
    await page.goto(`${gateway.url}/?${query}#${query}`);
    await connected(page);
    const origin = new URL(gateway.url).host;
    assert.ok(page.requested.length > 10);
    for (const url of page.requested) assert.equal(new URL(url).host, origin, url);
    const stored = await page.evaluate(() => JSON.stringify([{ ...localStorage }, { ...sessionStorage }]));
    assert.ok(!stored.includes("127.0.0.1:9"), stored);
    assert.equal(await page.locator("#session-title").textContent(), "Main");
    assert.deepEqual(page.problems, []);
  });

  test("the page's policy lets nothing else in or out", async () => {
    const page = await open(browser, gateway);
    await page.evaluate(async (foreign) => {
      globalThis.refusals = [];
      document.addEventListener("securitypolicyviolation", (event) =>
        globalThis.refusals.push(event.effectiveDirective),
      );
      const tries = [
        () => fetch(`http://127.0.0.1:${foreign}/`),
        () => new WebSocket(`ws://127.0.0.1:${foreign}/`),
        () =>
          new Promise((resolve) => {
            const image = new Image();
            image.onerror = resolve;
            image.src = `http://127.0.0.1:${foreign}/leak.png`;
          }),
        () => {
          document.body.innerHTML += "<img src=x onerror=alert(1)>";
        },
        () => {
          const script = document.createElement("script");
          script.append("globalThis.ran = true");
          document.body.append(script);
        },
      ];
      for (const attempt of tries) {
        try {
          await attempt();
        } catch {
          /* refused, as it should be */
        }
      }
    }, 9);
    for (const directive of ["connect-src", "img-src", "require-trusted-types-for"]) {
      await eventually(`a report of ${directive}`, () =>
        page.evaluate((wanted) => globalThis.refusals.includes(wanted), directive),
      );
    }
    assert.equal(await page.evaluate(() => globalThis.ran), undefined);
  });

  test("what a model or a person writes never becomes markup of its own", async () => {
    const page = await open(browser, gateway);
    const payloads = [
      "<script>globalThis.ran = 1</script>",
      "<img src=x onerror='globalThis.ran = 1'>",
      "<svg/onload=globalThis.ran=1>",
      "<iframe srcdoc='<script>parent.ran=1</script>'></iframe>",
      "<a href='javascript:globalThis.ran=1'>html link</a>",
      "<form action='http://evil.example'><button>x</button></form>",
      "<style>body{display:none}</style>",
      "<math><mtext><img src=x onerror=globalThis.ran=1>",
    ].join("\n\n");
    const links =
      "[js](javascript:globalThis.ran=1) [data](data:text/html,x) <javascript:alert(1)> " +
      "[ok](http://ok.example/a) ![shot](http://evil.example/p.png) " +
      "![x](javascript:globalThis.ran=1) http://ok.example/";
    await ask(page, gateway.answering(`MARK ${payloads}\n\n${links} END`));
    await page.locator(".agent .markdown", { hasText: "END" }).waitFor();
    const found = await page.evaluate(() => {
      const answer = document.querySelector(".items");
      return {
        ran: globalThis.ran,
        elements: [...answer.querySelectorAll("script, img, iframe, form, style, math, object, embed")]
          .length,
        links: [...answer.querySelectorAll("a")].map((link) => [link.protocol, link.rel, link.target]),
        handlers: [...answer.querySelectorAll("*")].filter((element) =>
          [...element.attributes].some(({ name }) => name.startsWith("on")),
        ).length,
        shown: answer.textContent.includes("<script>globalThis.ran = 1</script>"),
      };
    });
    assert.deepEqual(
      { ...found, links: undefined },
      { ran: undefined, elements: 0, handlers: 0, shown: true, links: undefined },
    );
    assert.ok(found.links.length >= 2, JSON.stringify(found.links));
    for (const [protocol, rel, target] of found.links) {
      assert.match(protocol, /^https?:$/);
      assert.equal(`${rel} ${target}`, "noopener noreferrer nofollow _blank");
    }
    for (const url of page.requested) assert.ok(!url.includes("evil.example"), url);
    assert.deepEqual(page.problems, []);
  });

  test("a page of another site can neither connect, read nor frame", async () => {
    const foreign = createServer((request, response) => {
      response.setHeader("Content-Type", "text/html");
      response.end("<!doctype html><title>foreign</title>");
    });
    const port = await listening(foreign);
    try {
      const page = await blank(browser);
      await page.goto(`http://127.0.0.1:${port}/`);
      const outcome = await page.evaluate(async (target) => {
        const socket = await new Promise((resolve) => {
          const attempt = new WebSocket(target.replace("http", "ws"));
          attempt.onopen = () => resolve("open");
          attempt.onclose = ({ code }) => resolve(code);
        });
        const read = await fetch(target).then(
          () => "read",
          () => "refused",
        );
        const blind = await fetch(target, { mode: "no-cors" }).then(
          () => "read",
          () => "refused",
        );
        return { socket, read, blind };
      }, gateway.url);
      assert.deepEqual(outcome, { socket: 1006, read: "refused", blind: "refused" });
      await page.evaluate((target) => {
        const frame = document.createElement("iframe");
        frame.src = target;
        document.body.append(frame);
      }, gateway.url);
      await eventually("the browser to refuse the frame", () =>
        page.problems.some((problem) => /frame/i.test(problem)),
      );
      assert.match(gateway.log, /this Origin may not connect/);
    } finally {
      foreign.close();
    }
  });

  test("the page works through a tunnel with any local port", async () => {
    const tunnel = createProxy((near) => {
      const far = connect(gateway.port, "127.0.0.1");
      near.pipe(far).pipe(near);
      near.on("error", () => far.destroy());
      far.on("error", () => near.destroy());
    });
    const port = await listening(tunnel);
    try {
      const page = await open(browser, { url: `http://localhost:${port}` });
      await ask(page, "[[say through the tunnel]]");
      await page.getByText("through the tunnel", { exact: true }).waitFor();
      assert.deepEqual(page.problems, []);
      await page.context().close();
    } finally {
      tunnel.close();
    }
  });

  test("what the page loads is small, and is loaded once", async () => {
    const page = await blank(browser);
    const loaded = () =>
      page.evaluate(() =>
        ["navigation", "resource"].flatMap((type) =>
          performance
            .getEntriesByType(type)
            .map(({ name, transferSize }) => [new URL(name).pathname, transferSize]),
        ),
      );
    await page.goto(gateway.url);
    await connected(page);
    const first = await loaded();
    const bytes = first.reduce((sum, [, size]) => sum + size, 0);
    assert.ok(bytes > 20_000 && bytes < 150 * 1024, `${bytes} bytes over the wire`);
    assert.ok(first.some(([name]) => name.endsWith("/vendor/marked.js")));
    await page.reload();
    await connected(page);
    for (const [name, size] of await loaded()) if (name !== "/") assert.equal(size, 0, name);
    assert.equal(await page.evaluate(() => navigator.serviceWorker?.controller ?? null), null);
  });
});
