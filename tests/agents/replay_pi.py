"""A stand-in for Pi's RPC mode that replays a recorded conversation.

    replay_pi.py TRACE [pi's flags]

The n-th prompt is answered with the lines that Pi wrote for the n-th prompt of the recording, an `abort` and the
answer to an extension's question where the recording has them. What a gateway's commands cannot cause is left out:
what Pi wrote for a command that no gateway sends. A prompt that the recorded Pi lost or refused because it came too
early is lost or refused here too, if it comes too early; otherwise it gets an answer of its own: `You said: ...`.

Where the recorded process ended in the middle of things, this one ends. The next one carries on behind that point:
commands are logged to `received.jsonl` in the working directory, with the phase in which they came.
"""
import json
import os
import select
import signal
import sys
import time

LOG = "received.jsonl"
# No longer than this is waited where the recorded Pi was silent.
PAUSE_MAX_S = 0.003
# How long an abort that comes too early, as the recorded one did, is given to come.
EARLY_S = 0.1
ENDS = ("agent_end", "auto_retry_end", "compaction_end")
FOLLOWS = ("auto_retry_start", "auto_retry_end", "compaction_start", "compaction_end")
DIALOGS = ("confirm", "select", "input", "editor")


def entries(path):
    """The recording: [time, kind, parsed line or text], without what a manual compaction wrote."""
    found = []
    with open(path) as file:
        next(file)
        for entry in map(json.loads, file):
            kind, value = entry["d"], entry["s"]
            if kind in ("in", "out"):
                try:
                    value = json.loads(value)
                except ValueError:
                    value = {"type": value}
                if not isinstance(value, dict):
                    value = {"type": str(value)}
                if str(value.get("type")).startswith("compaction_") and value["reason"] == "manual":
                    continue
            found.append((entry["t"], kind, value))
    return found


def is_prompt(kind, value):
    """Prompts with a `streamingBehavior` use Pi's queues, which no gateway does."""
    return kind == "in" and value.get("type") == "prompt" and "streamingBehavior" not in value


def is_over(recording, index, working):
    """Whether the run is over after this line, as Pi knows and a client has to find out."""
    value = recording[index][2]
    later = (line for _, kind, line in recording[index + 1 :] if kind == "out" and line["type"] != "response")
    following = next(later, {"type": None})["type"]
    if value["type"] == "response":
        begins = following in ("agent_start", "extension_ui_request")
        return value.get("command") == "prompt" and not working and (not value["success"] or not begins)
    if working or value["type"] not in ENDS:
        return False
    return following not in FOLLOWS and not value.get("willRetry")


def units(recording):
    """What each prompt of the recording caused."""
    found = []
    current = None
    prompts = 0
    working = False
    over = False
    for index, (at, kind, value) in enumerate(recording):
        if is_prompt(kind, value):
            prompts += 1
            found.append([])
            if current is None or over:
                current, over, working = found[-1], False, False
        elif current is None and prompts == 0 and kind in ("out", "err", "exit"):
            # Only of use if no prompt follows.
            found.append((at, kind, value))
        elif current is None:
            continue
        elif over:
            if kind == "in":
                current = None
            elif kind == "out" and value["type"] == "response":
                current.append((at, kind, value))
        elif kind == "in" and value.get("type") == "new_session":
            current = None
        elif kind != "note":
            current.append((at, kind, value))
            if kind == "out":
                started = value["type"] == "agent_start"
                working = started or (working and value["type"] != "agent_end")
                over = is_over(recording, index, working)
    if prompts == 0:
        return [], found
    return [unit for unit in found if isinstance(unit, list)], []


class Pi:
    """The process: its input and where in a run it is."""

    def __init__(self, recording):
        self.units, self.doom = units(recording)
        # The oldest Pi answers no command.
        self.answers = any(kind == "out" and value["type"] == "response" for _, kind, value in recording)
        self.rest = b""
        self.phase = "idle"
        self.aborted = None
        self.told = set()

    def say(self, value):
        data = json.dumps(value).encode() + b"\n"
        while data:
            data = data[os.write(1, data) :]

    def respond(self, command, **more):
        if self.answers:
            self.say({"id": command.get("id"), "type": "response", "command": command["type"], "success": True, **more})

    def log(self, value):
        with open(LOG, "a") as file:
            file.write(json.dumps({"pid": os.getpid(), "phase": self.phase, **value}) + "\n")

    def read(self, timeout=None):
        """The next command, logged; None when none came in time."""
        end = None if timeout is None else time.monotonic() + timeout
        while b"\n" not in self.rest:
            left = None if end is None else max(0, end - time.monotonic())
            if not select.select([0], [], [], left)[0]:
                return None
            data = os.read(0, 65536)
            if not data:
                sys.exit(0)
            self.rest += data
        line, self.rest = self.rest.split(b"\n", 1)
        command = json.loads(line)
        self.log({"command": command})
        return command

    def during_run(self, command):
        """Reacts as Pi does while a run is on."""
        kind = command["type"]
        if kind == "get_state":
            busy = {"isStreaming": self.phase == "working", "isCompacting": self.phase == "compacting"}
            self.respond(command, data=busy)
        elif kind == "extension_ui_response":
            self.told.add(command["id"])
        elif kind == "prompt" and self.phase == "working":
            self.respond(command, success=False, error="Agent is already processing.")
        elif kind == "abort" and self.phase not in ("asked", "idle"):
            self.aborted = command
        else:
            # Among them a prompt that is lost and an abort that does nothing.
            self.respond(command)

    def pause(self, seconds):
        end = time.monotonic() + seconds
        while (command := self.read(max(0, end - time.monotonic()))) is not None:
            self.during_run(command)

    def follow(self, line):
        """Notes what a line that was written means."""
        kind = line["type"]
        self.phase = {
            "agent_start": "working",
            "agent_end": "settling",
            "auto_retry_start": "retrying",
            "compaction_start": "compacting",
            "compaction_end": "settling",
        }.get(kind, self.phase)
        if kind == "extension_ui_request" and line["method"] in DIALOGS:
            while line["id"] not in self.told:
                self.during_run(self.read())

    def play(self, prompt, unit):
        """Writes what the recording has for a prompt, and waits for what it waited for."""
        self.phase, self.aborted, last, missed = "asked", None, None, False
        for at, kind, value in unit:
            # Lines of one moment come before anything is read, as in Pi.
            if last is not None and at - last > 1:
                self.pause(min((at - last) / 1000, PAUSE_MAX_S))
            last = at
            if kind in ("err", "exit"):
                self.end_or_complain(kind, value)
            elif kind == "in" and self.is_abort(value):
                # One that came too early did nothing: it is waited for where it does something.
                if self.phase == "asked":
                    missed = True
                    self.pause(EARLY_S)
                else:
                    self.await_abort()
            elif kind == "out":
                self.write(prompt, value)
                self.follow(value)
                if missed and self.phase == "working":
                    self.await_abort()
                    break
        # The recording does not have the end: an abort that came too early, or a `new_session`.
        if self.phase == "working":
            self.await_abort()
            self.drop()
        self.phase = "idle"

    def await_abort(self):
        while not self.aborted:
            self.during_run(self.read())

    def is_abort(self, line):
        return line.get("type") in ("abort", "abort_retry")

    def write(self, prompt, line):
        if line["type"] == "response" and self.is_abort({"type": line.get("command")}) and self.aborted:
            self.respond(self.aborted)
        elif line["type"] == "response" and line.get("id") == prompt.get("recorded"):
            self.say({**line, "id": prompt["id"]})
        else:
            self.say(line)

    def drop(self):
        """What an abort causes that the recording does not have."""
        message = {"role": "assistant", "content": [], "stopReason": "aborted", "errorMessage": "Request was aborted"}
        self.say({"type": "message_end", "message": message})
        self.say({"type": "agent_end", "messages": []})
        self.respond(self.aborted)
        self.phase = "idle"

    def answer(self, prompt):
        """A run that the recording does not have."""
        self.respond(prompt)
        self.say({"type": "agent_start"})
        text = "You said: " + prompt["message"]
        message = {"role": "assistant", "content": [{"type": "text", "text": text}], "stopReason": "stop"}
        self.say({"type": "message_start", "message": {**message, "content": []}})
        delta = {"type": "text_delta", "contentIndex": 0, "delta": text}
        self.say({"type": "message_update", "assistantMessageEvent": delta, "message": message})
        self.say({"type": "message_end", "message": message})
        self.say({"type": "agent_end", "messages": [message]})

    def perish(self):
        """Does what a process did that ended before any prompt, without reading one."""
        for _, kind, value in self.doom:
            if kind == "out":
                self.say(value)
            else:
                self.end_or_complain(kind, value)

    def end_or_complain(self, kind, value):
        if kind == "err":
            os.write(2, value.encode() + b"\n")
            return
        code = int(value)
        if code < 0:
            os.kill(os.getpid(), -code)
        os._exit(code)

    def serve(self, served):
        """Takes prompts, `served` of which earlier processes had."""
        while True:
            command = self.read()
            if command["type"] != "prompt":
                self.during_run(command)
                continue
            unit = self.units[served] if served < len(self.units) else []
            served += 1
            if any(kind != "out" or line["type"] != "response" or not line["success"] for _, kind, line in unit):
                responses = [line for _, kind, line in unit if kind == "out" and line.get("command") == "prompt"]
                command["recorded"] = responses[0]["id"] if responses else None
                self.play(command, unit)
            else:
                self.answer(command)


def main():
    pi = Pi(entries(sys.argv[1]))
    earlier = []
    if os.path.exists(LOG):
        with open(LOG) as file:
            earlier = [json.loads(line) for line in file]
    if pi.doom and not earlier:
        pi.log({"doomed": True})
        pi.perish()
    pi.serve(sum("command" in line and line["command"]["type"] == "prompt" for line in earlier))


signal.signal(signal.SIGINT, signal.SIG_DFL)
main()
