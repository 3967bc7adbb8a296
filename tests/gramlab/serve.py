"""Runs gramlab's Bot API server and lets a test be the people in it.

    serve.py FOLDER

Prints one JSON line with the server's address and the bot's token, then answers each JSON line on
standard input with one: {"do": "say", "chat": "private" or "group", "text": ...} and
{"do": "history", "chat": ...}. The world is kept in FOLDER; starting again goes on with it. Needs a
network namespace in which `lo` is the only interface.
"""

import json
import sys
import time
from pathlib import Path

from gramlab.bot_api import BotAPIServer
from gramlab.world import World


def make(folder):
    with World.create(folder, seed=1, now=int(time.time())) as world:
        bot = world.create_user(first_name="Clawdis", is_bot=True, username="gram_bot")["id"]
        user = world.create_user(first_name="Ada", language_code="en")["id"]
        stranger = world.create_user(first_name="Eve", language_code="en")["id"]
        facts = {
            "token": world.issue_bot_token(bot),
            "bot": bot,
            "user": user,
            "stranger": stranger,
            "private": world.open_private_chat(user_id=user, bot_id=bot)["id"],
            "strange": world.open_private_chat(user_id=stranger, bot_id=bot)["id"],
            "group": world.create_group_chat(title="Club", creator_id=user, member_ids=[stranger], bot_ids=[bot])["id"],
        }
    (folder / "facts.json").write_text(json.dumps(facts))


def obey(folder, facts, order):
    with World.open(folder) as world:
        chat = facts[order["chat"]]
        if order["do"] == "say":
            sender = facts["stranger"] if order["chat"] == "strange" else facts["user"]
            return world.send_message(chat_id=chat, sender_id=sender, text=order["text"], entities=order.get("entities"))
        return world.history(chat)


def main():
    folder = Path(sys.argv[1])
    if not (folder / "facts.json").exists():
        make(folder)
    facts = json.loads((folder / "facts.json").read_text())
    with BotAPIServer(folder) as server:
        print(json.dumps({"base": server.base_url, **facts}), flush=True)
        for line in sys.stdin:
            print(json.dumps(obey(folder, facts, json.loads(line))), flush=True)


main()
