"""A stand-in for Pi's RPC mode that does what the prompt orders.

One JSON object per line on standard input and output. Orders stand in the prompt as [[order]]:

  [[say TEXT]]       answers exactly TEXT (default: `heard: ` and the prompt's last line)
  [[file NAME]]      answers what is in the file PROBE_DIR/NAME
  [[hold NAME]]      says "holding NAME" and waits for the file PROBE_DIR/release-NAME or an abort
  [[deaf]]           ignores abort and SIGTERM from here on
  [[flood N BYTES]]  N pieces of BYTES bytes each
  [[tool]]           one tool call around the answer
  [[tool-bytes N]]   one tool call with a result of N bytes
  [[think TEXT]]     thinks before it answers
  [[die CODE]]       says why on standard error and exits in the middle of the run
  [[garbage]]        a line that is no JSON between two good ones
  [[env]]            answers its own environment as JSON
  [[argv]]           answers its own arguments as JSON
  [[images]]         answers how many images came with the prompt
  [[sh COMMAND]]     answers what that command says, on both outputs
  [[count]]          answers how many prompts this process was given so far

Every prompt is noted in PROBE_DIR/prompts before anything else is done about it.
"""

import json
import os
import re
import select
import signal
import subprocess
import sys

PROBE = os.environ["PROBE_DIR"]
deaf = False
prompts = 0
queue = []
buffered = b""


def emit(kind, **members):
    sys.stdout.write(json.dumps({"type": kind, **members}) + "\n")
    sys.stdout.flush()


def lines(wait):
    """Commands that have come; waits up to `wait` seconds (None: for ever) for the first byte."""
    global buffered
    if queue:
        return
    ready, _, _ = select.select([0], [], [], wait)
    if not ready:
        return
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


def aborted(wait):
    """Serves commands during a run; True once the run is to end."""
    lines(wait)
    while queue:
        command = queue.pop(0)
        if command["type"] == "abort" and not deaf:
            respond(command)
            return True
        serve_idle(command, streaming=True)
    return False


def serve_idle(command, streaming=False):
    if command["type"] == "get_state":
        respond(command, data={"isStreaming": streaming, "isCompacting": False, "model": {"id": "scripted"}})
    elif not (deaf and command["type"] == "abort"):
        respond(command)


class Answer:
    """One assistant message, streamed."""

    def __init__(self):
        self.pieces = []
        emit("message_start", message={"role": "assistant", "content": []})
        self.update("text_start")

    def update(self, kind, **members):
        emit("message_update", assistantMessageEvent={"type": kind, "contentIndex": 0, **members})

    def piece(self, text):
        self.pieces.append(text)
        self.update("text_delta", delta=text)

    def end(self, reason="stop"):
        text = "".join(self.pieces)
        content = [{"type": "text", "text": text}] if text else []
        message = {"role": "assistant", "content": content, "stopReason": reason}
        if reason == "aborted":
            message["errorMessage"] = "Request was aborted"
        emit("message_end", message=message)
        emit("turn_end", message=message, toolResults=[])
        emit("agent_end", messages=[message])


def tool(result):
    call = {"toolCallId": "call-1", "toolName": "look"}
    emit("tool_execution_start", args={"path": "README.md"}, **call)
    content = {"content": [{"type": "text", "text": result}]}
    emit("tool_execution_update", args={"path": "README.md"}, partialResult=content, **call)
    emit("tool_execution_end", result=content, isError=False, **call)


def hold(name, answer):
    answer.piece(f"holding {name}\n")
    release = os.path.join(PROBE, f"release-{name}")
    while not os.path.exists(release):
        if aborted(0.01):
            return False
    return True


def run(command):
    """Carries out the orders of one prompt."""
    global deaf
    prompt = command["message"]
    answer = Answer()
    said = False
    for name, argument in re.findall(r"\[\[([a-z-]+)(?: ([^\]]*))?\]\]", prompt):
        if name == "deaf":
            deaf = True
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        elif name == "hold":
            if not hold(argument, answer):
                return answer.end("aborted")
        elif name == "flood":
            count, size = map(int, argument.split())
            for number in range(count):
                answer.piece(str(number % 10) * size)
                if number % 64 == 63 and aborted(0):
                    return answer.end("aborted")
            said = True
        elif name == "tool":
            tool("a line\nof output")
        elif name == "tool-bytes":
            tool("t" * int(argument))
        elif name == "think":
            answer.update("thinking_start")
            answer.update("thinking_delta", delta=argument)
            answer.update("thinking_end", content=argument)
        elif name == "die":
            sys.stderr.write("the scripted agent was told to die\n")
            sys.exit(int(argument))
        elif name == "garbage":
            sys.stdout.write("this line is no JSON\n")
        else:
            said = True
            answer.piece(told(name, argument, command))
    if not said:
        answer.piece("heard: " + prompt.strip().splitlines()[-1])
    return answer.end()


def told(name, argument, command):
    if name == "sh":
        done = subprocess.run(argument, shell=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return done.stdout.strip() or f"exit {done.returncode}"
    if name == "file":
        with open(os.path.join(PROBE, argument), encoding="utf-8") as file:
            return file.read()
    facts = {
        "say": argument,
        "env": json.dumps(dict(os.environ)),
        "argv": json.dumps(sys.argv),
        "images": f"images={len(command.get('images') or [])}",
        "count": f"count={prompts}",
    }
    return facts[name]


def main():
    global prompts
    while True:
        lines(None)
        while queue:
            command = queue.pop(0)
            if command["type"] != "prompt":
                serve_idle(command)
                continue
            prompts += 1
            with open(os.path.join(PROBE, "prompts"), "a") as log:
                log.write(json.dumps(command["message"]) + "\n")
            respond(command)
            emit("agent_start")
            emit("turn_start")
            run(command)


main()
