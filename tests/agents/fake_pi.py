"""A stand-in for Pi's RPC mode that misbehaves on order. (`replay_pi.py` replays recorded conversations.)

    fake_pi.py act [pi's flags]              does what the prompt orders: [[name]] or [[name argument]]
    fake_pi.py stubborn FOLDER               a process tree that does not want to end; pids go to FOLDER

With FAKE_START=name in the environment the order is carried out once, before anything is read.
"""
import json
import os
import re
import select
import signal
import sys
import time


def say(value):
    data = value if isinstance(value, bytes) else (json.dumps(value) + "\n").encode()
    while data:
        data = data[os.write(1, data):]


class Input:
    """Lines of stdin, without Python's own buffering between select and read."""

    def __init__(self):
        self.rest = b""
        self.held = []

    def line(self, timeout=None):
        """The next command; None when nothing came in time."""
        if timeout is None and self.held:
            return self.held.pop(0)
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
        return json.loads(line)


stdin = Input()


def respond(command, **more):
    say({"id": command.get("id"), "type": "response", "command": command["type"], "success": True, **more})


def state(command):
    respond(command, data={"isStreaming": False, "isCompacting": False, "messageCount": 0})


def pause(seconds):
    """Waits; answers what comes; says whether that was an abort."""
    end = time.monotonic() + seconds
    while True:
        command = stdin.line(max(0, end - time.monotonic()))
        if command is None:
            return False
        if command["type"] == "get_state":
            state(command)
        elif command["type"] == "abort":
            respond(command)
            return True
        else:
            stdin.held.append(command)


def message(text, stop="stop", error=None):
    content = [{"type": "text", "text": text}] if text else []
    return {"role": "assistant", "content": content, "stopReason": stop, **({"errorMessage": error} if error else {})}


def delta(text, so_far):
    partial = message(so_far)
    event = {"type": "text_delta", "contentIndex": 0, "delta": text, "partial": partial}
    say({"type": "message_update", "assistantMessageEvent": event, "message": partial})


def run(text, stop="stop", error=None, end=True):
    say({"type": "agent_start"})
    say({"type": "message_start", "message": message("")})
    if text:
        delta(text, text)
    say({"type": "message_end", "message": message(text, stop, error)})
    if end:
        say({"type": "agent_end", "messages": []})


def note_pid(folder):
    with open(os.path.join(folder, str(os.getpid())), "w"):
        pass


def stubborn(folder):
    """This process, a child, and its child in a session of its own: none of the three minds SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.makedirs(folder, exist_ok=True)
    if os.fork() == 0:
        if os.fork() == 0:
            # Twice, so that its parent is gone.
            os.setsid()
            if os.fork() != 0:
                os._exit(0)
        note_pid(folder)
        time.sleep(600)
        os._exit(0)
    note_pid(folder)


def order(name, argument, command):
    """Carries one out. Pi's answer to a prompt was not given yet."""
    if name == "refuse":
        say({"id": command["id"], "type": "response", "command": "prompt", "success": False, "error": "no\nmodel  set"})
        return
    if name in ("exit", "mute", "flood", "garbage", "null", "half", "close", "huge"):
        if name == "exit":
            os.write(2, b"\x1b[31mError: cannot go on\x1b[0m\n    at main\n")
            os._exit(int(argument or 3))
        if name == "mute":
            time.sleep(600)
        if name == "close":
            os.close(1)
            time.sleep(600)
        say({"flood": b"x" * 65536, "garbage": b"Welcome to the agent!\n", "null": b"null\n",
             "half": b'{"type":"agent_st', "huge": b'{"type":"x","y":"'}[name])
        if name == "half":
            os._exit(0)
        if name == "huge":
            for _ in range(100):
                say(b"z" * 1_000_000)
            say(b'"}\n')
        while name == "flood":
            say(b"x" * 65536)
        time.sleep(600)
    respond(command)
    if name == "hang":
        say({"type": "agent_start"})
        delta("so far", "so far")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(600)
    elif name == "crash":
        say({"type": "agent_start"})
        delta("half an answer", "half an answer")
        os.kill(os.getpid(), signal.SIGSEGV)
    elif name == "late":
        # As Pi: an abort before agent_start is accepted and does nothing.
        pause(0.4)
        say({"type": "agent_start"})
        aborted = pause(float(argument or 60))
        say({"type": "message_end", "message": message("", "aborted" if aborted else "stop", "Request was aborted")})
        say({"type": "agent_end", "messages": []})
    elif name == "stubborn":
        stubborn(argument)
        say({"type": "agent_start"})
        delta("working", "working")
        while True:
            time.sleep(600)
    elif name == "leave":
        # The agent is well-behaved, what its tools left behind is not.
        if os.fork() == 0:
            stubborn(argument)
            os._exit(0)
        os.wait()
        run("left something")
    elif name == "no-state":
        run("whole answer")
        time.sleep(600)
    elif name == "end-exit":
        run("whole answer")
        os._exit(0)
    elif name == "complain":
        for _ in range(200):
            os.write(2, b"e" * 100_000 + b"\n")
        run("complained")
    elif name == "empty":
        run("")
    elif name == "ask":
        say({"type": "agent_start"})
        say({"type": "extension_ui_request", "id": "q1", "method": "confirm", "title": "Sure?"})
        answer = stdin.line()
        run(json.dumps(answer, sort_keys=True))
    elif name == "nag":
        # Asks and asks, and reads no answer.
        say({"type": "agent_start"})
        while True:
            say({"type": "extension_ui_request", "id": "q" * 900, "method": "confirm"})
    elif name == "long":
        so_far = ""
        say({"type": "agent_start"})
        for _ in range(int(argument) // 8):
            so_far += "word wo "
            delta("word wo ", so_far)
        say({"type": "message_end", "message": message(so_far)})
        say({"type": "agent_end", "messages": [message(so_far)]})
        with open("all-said", "w"):
            pass
    elif name == "line":
        # One line of so many megabytes, nearly all of it in one member.
        megabytes, kind = argument.split()
        event = '{"type":"message_update","assistantMessageEvent":{"type":"%s","contentIndex":0,"%s":"'
        head, tail = {
            "delta": (event % ("text_delta", "delta"), '"}}'),
            "end": (event % ("text_end", "content"), '"}}'),
            "thinking": (event % ("thinking_delta", "delta"), '"}}'),
            "result": ('{"type":"tool_execution_end","toolCallId":"c","toolName":"t","result":{"content":[{"type":"text","text":"', '"}]}}'),
            "error": ('{"type":"auto_retry_start","errorMessage":"', '"}'),
            "name": ('{"type":"queue_update","\\u0041', '":1}'),
        }[kind]
        say({"type": "agent_start"})
        say({"type": "message_start", "message": message("")})
        say(head.encode())
        for _ in range(int(megabytes)):
            say(b"line\\n  " * 125_000)
        say(tail.encode() + b"\n")
        say({"type": "message_end", "message": message("")})
        say({"type": "agent_end", "messages": []})
    elif name == "big-delta":
        text = "ab" * 100_000
        run(text)
    elif name == "about":
        with open("/proc/self/oom_score_adj") as file:
            oom = int(file.read())
        umask = os.umask(0)
        about = {"argv": sys.argv[1:], "env": dict(os.environ), "cwd": os.getcwd(), "umask": umask, "oom": oom}
        run(json.dumps(about))
    elif name == "two":
        run("first", end=False)
        run("second")
    else:
        sys.exit(f"unknown order {name}")


def act():
    orders = re.compile(r"\[\[([a-z-]+) ?([^\]]*)\]\]")
    served = 0
    while True:
        command = stdin.line()
        if command["type"] == "prompt":
            served += 1
            found = orders.search(command["message"])
            if found:
                order(found[1], found[2], command)
            else:
                respond(command)
                images = "".join(f" {image['mimeType']} {image['data']}" for image in command.get("images", []))
                length = len(command["message"])
                said = command["message"] if length < 1000 else f"{length} characters"
                run(f"{served}: {said}{images}")
        elif command["type"] == "get_state":
            state(command)
        else:
            respond(command)


def main():
    mode = sys.argv[1]
    start = os.environ.get("FAKE_START")
    if start and not os.path.exists("started-once"):
        with open("started-once", "w"):
            pass
        order(start, "", {"id": "none", "type": "prompt"})
    if mode == "act":
        act()
    elif mode == "stubborn":
        stubborn(sys.argv[2])
        time.sleep(600)


main()
