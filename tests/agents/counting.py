"""A stand-in for Pi's RPC mode that leaves a trace of every prompt, for the crash tests.

A prompt names the keys that it stands for as [[key NAME]]; bursts name several. [[slow MS]] makes
the answer wait that long. Every prompt is noted in PROBE_DIR/prompts, which no crash takes back,
before anything else is done about it, and in the session's file, as Pi would.
"""

import json
import os
import re
import select
import sys

SESSION = sys.argv[sys.argv.index("--session") + 1]
queue = []
buffered = b""


def emit(kind, **members):
    sys.stdout.write(json.dumps({"type": kind, **members}) + "\n")
    sys.stdout.flush()


def read(wait):
    """Puts the commands that have come into the queue; waits up to `wait` seconds for them."""
    global buffered
    ready, _, _ = select.select([0], [], [], wait)
    if ready:
        chunk = os.read(0, 65536)
        if not chunk:
            sys.exit(0)
        *whole, buffered = (buffered + chunk).split(b"\n")
        queue.extend(json.loads(line) for line in whole if line.strip())


def respond(command, **members):
    reply = {"command": command["type"], "success": True, **members}
    if "id" in command:
        reply["id"] = command["id"]
    emit("response", **reply)


def serve(command):
    """Answers a command that is no prompt; True if it ends the run."""
    if command["type"] == "get_state":
        respond(command, data={"isStreaming": False, "isCompacting": False, "model": {"id": "counting"}})
    else:
        respond(command)
    return command["type"] == "abort"


def append(path, line):
    with open(path, "a") as file:
        file.write(line + "\n")


def run(prompt):
    emit("agent_start")
    emit("turn_start")
    emit("message_start", message={"role": "assistant", "content": []})
    text = "did " + " and ".join(re.findall(r"\[\[key ([^\]]+)\]\]", prompt))
    reason = "stop"
    for ms in re.findall(r"\[\[slow (\d+)\]\]", prompt)[:1]:
        read(int(ms) / 1000)
        while queue:
            if serve(queue.pop(0)):
                reason = "aborted"
    emit("message_update", assistantMessageEvent={"type": "text_delta", "contentIndex": 0, "delta": text})
    message = {"role": "assistant", "content": [{"type": "text", "text": text}], "stopReason": reason}
    emit("message_end", message=message)
    emit("turn_end", message=message, toolResults=[])
    emit("agent_end", messages=[message])


def main():
    if not os.path.exists(SESSION):
        append(SESSION, json.dumps({"type": "session", "version": 3, "id": "counting", "cwd": "/"}))
    while True:
        read(None)
        while queue:
            command = queue.pop(0)
            if command["type"] != "prompt":
                serve(command)
                continue
            append(os.path.join(os.environ["PROBE_DIR"], "prompts"), json.dumps(command["message"]))
            append(SESSION, json.dumps({"type": "message", "text": command["message"]}))
            respond(command)
            run(command["message"])


main()
