"""Leaves a process behind that does not want to be found.

    escape.py FILE stay       ignores SIGTERM in a session of its own, with its parents gone
    escape.py FILE loop       the same, and is another process all the time: it forks and exits
    escape.py FILE bare       like `stay`, with an empty environment

FILE stays locked as long as any of them lives. Returns once it is.
"""

import fcntl
import os
import signal
import sys
import time

path, kind = sys.argv[1:3]
if kind == "bare" and "PATH" in os.environ:
    os.execve(sys.executable, [sys.executable, *sys.argv], {})
file = open(path, "w")
fcntl.flock(file, fcntl.LOCK_EX)
os.set_inheritable(file.fileno(), True)
for _ in range(2):
    if os.fork():
        os._exit(0)
    os.setsid()
signal.signal(signal.SIGTERM, signal.SIG_IGN)
# The gateway must not hear of it by a closed pipe.
for descriptor in range(3):
    os.close(descriptor)
# A test that fails leaves it behind for a while, not for ever.
end = time.monotonic() + 120
while kind == "loop" and time.monotonic() < end:
    if os.fork():
        os._exit(0)
while time.monotonic() < end:
    time.sleep(1)
