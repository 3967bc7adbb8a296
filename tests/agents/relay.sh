#!/usr/bin/env bash
# A child whose part is played by a test: its stdin goes to 127.0.0.1:$RELAY_PORT, what comes from
# there is its stdout, and the end of that is its own. Its arguments mean nothing to it.
exec 3<>"/dev/tcp/127.0.0.1/$RELAY_PORT" || exit 1
cat <&0 >&3 &
cat <&3
kill $!
