"""Everything a client needs, with nothing but a WebSocket library: client.py URL [TOKEN]."""

import itertools
import json
import sys

from websockets.sync.client import connect

url, token = sys.argv[1], (sys.argv[2:] or [None])[0]
socket, ids, events = connect(url), itertools.count(1), []


def send(**frame):
    socket.send(json.dumps(frame))


def answer(request):
    while (frame := json.loads(socket.recv(timeout=20))).get("id") != request:
        events.append(frame)
    return frame


def ask(method, **params):
    request = f"py-{next(ids)}"
    send(type="req", id=request, method=method, params=params)
    return answer(request)


client = {"name": "python", "version": "1.0.0", "platform": "any", "mode": "script", "instanceId": "python-1"}
send(type="hello", minProtocol=1, maxProtocol=1, client=client, **({"auth": {"token": token}} if token else {}))
hello = json.loads(socket.recv(timeout=20))
assert hello["type"] == "hello-ok", hello
print("methods:", *hello["features"]["methods"])

assert ask("health", probe=True)["payload"]["ok"]
assert ask("status")["payload"]["clients"] >= 1
assert any(entry["instanceId"] == "python-1" for entry in ask("system-presence")["payload"])
assert ask("system-event", text="a script was run", reason="script")["ok"]
assert ask("set-heartbeats", enabled=False)["payload"] == {"enabled": False}
assert ask("set-channel", channel="telegram", enabled=False)["ok"]
assert ask("set-channel", channel="telegram", enabled=True)["error"]["code"] == "UNAVAILABLE"
assert ask("set-paused", paused=False)["payload"] == {"paused": False}
assert ask("send", to="+15550001111", message="hi", idempotencyKey="s1")["error"]["code"] == "UNAVAILABLE"

ack = ask("agent", message="What is a gateway?", idempotencyKey="a1")
run = ack["payload"]["runId"]
assert ack["payload"]["status"] == "accepted", ack
final = answer(ack["id"])
steps = [e["payload"] for e in events if e.get("event") == "agent" and e["payload"]["runId"] == run]
streamed = "".join(step["data"].get("delta", "") for step in steps if step["stream"] == "assistant")
assert [step["seq"] for step in steps] == list(range(1, len(steps) + 1)), steps
assert final["payload"]["status"] == "ok" and "What is a gateway?" in streamed, (final, streamed)
assert any(step["stream"] == "tool" for step in steps)
print("answer:", final["payload"]["summary"])

assert ask("agent-cancel", runId=run)["error"]["code"] == "INVALID_REQUEST"
assert ask("sessions-list")["payload"]["sessions"][0]["sessionKey"] == "main"
assert ask("session-history", sessionKey="main", limit=5)["payload"]["messages"]
assert ask("session-reset", sessionKey="main")["ok"]
assert ask("session-forget", sessionKey="main")["ok"]
assert ask("no-such-method")["error"]["code"] == "UNKNOWN_METHOD"
while not any(event.get("event") == "tick" for event in events):
    events.append(json.loads(socket.recv(timeout=20)))
socket.close()
print("events:", *sorted({event["event"] for event in events}))
