// The part of Telegram's Bot API that one chat needs: what a person writes there, and what the
// gateway answers them.

import { createServer } from "node:http";

const BOT = { id: 7, is_bot: true, first_name: "Bot", username: "test_bot" };

export class Telegram {
  #updates = [];
  #waiting = new Set();
  #number = 100;
  #polled = false;
  #server = createServer((request, response) => this.#serve(request, response));
  /** Texts that the gateway sent. */
  sent = [];
  /** Whether the next messages are refused for good. */
  blocked = false;

  /** Listens on a free port. */
  static async start() {
    const telegram = new Telegram();
    await new Promise((resolve) => telegram.#server.listen(0, "127.0.0.1", resolve));
    return telegram;
  }

  /** The gateway's configuration for it; the person with that id is the owner. */
  config(owner) {
    const apiBase = `http://127.0.0.1:${this.#server.address().port}`;
    return { owner: { telegram: owner }, telegram: { botToken: "7:token-for-tests", apiBase } };
  }

  /** Somebody writes to the bot. */
  write(id, name, text) {
    const number = (this.#number += 1);
    const message = {
      message_id: number,
      date: Math.floor(Date.now() / 1_000),
      chat: { id: Number(id), type: "private", first_name: name },
      from: { id: Number(id), is_bot: false, first_name: name },
      text,
    };
    this.#updates.push({ update_id: number, message });
    for (const look of this.#waiting) look();
  }

  async #serve(request, response) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const params = JSON.parse(Buffer.concat(chunks).toString() || "{}");
    const answer = (status, body) => {
      response.writeHead(status, { "Content-Type": "application/json" });
      response.end(JSON.stringify(body));
    };
    const method = request.url.split("/").at(-1);
    if (method === "getUpdates") return this.#poll(params, response, answer);
    if (method === "getMe") return answer(200, { ok: true, result: BOT });
    if (method !== "sendMessage") return answer(200, { ok: true, result: true });
    if (this.blocked) {
      return answer(403, {
        ok: false,
        error_code: 403,
        description: "Forbidden: bot was blocked by the user",
      });
    }
    this.sent.push(params.text);
    const chat = { id: Number(params.chat_id), type: "private" };
    return answer(200, {
      ok: true,
      result: { message_id: (this.#number += 1), date: 1, chat, text: params.text },
    });
  }

  #poll({ offset = 0 }, response, answer) {
    // Not held open: the gateway counts as connected from the first answer on.
    if (!this.#polled) {
      this.#polled = true;
      answer(200, { ok: true, result: [] });
      return;
    }
    const look = () => {
      const result = this.#updates.filter(({ update_id: id }) => id >= offset);
      if (result.length === 0) return;
      this.#waiting.delete(look);
      answer(200, { ok: true, result });
    };
    response.on("close", () => this.#waiting.delete(look));
    this.#waiting.add(look);
    look();
  }

  stop() {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}
