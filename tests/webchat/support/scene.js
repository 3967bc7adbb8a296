// An ordinary day of somebody, for the picture in the README.

const MINUTE = 60_000;

/** The steps of a run that is under way, as `[stream, data]`. */
export const LIVE = [
  ["lifecycle", { phase: "started" }],
  ["thinking", { delta: "The slot is free; the clinic opens at eight." }],
  ["tool", { phase: "start", toolCallId: "c", name: "calendar", args: { day: "thursday", find: "dentist" } }],
  ["tool", { phase: "end", toolCallId: "c", name: "calendar", result: "09:30 dentist", isError: false }],
  ["assistant", { delta: "Done: the dentist is on **Thursday at 9:30** now. Shall I tell Sam that you" }],
];

/** The first two arguments of `withFake`. */
export function scene() {
  const now = Date.now();
  const message = (id, minutes, role, text, more = {}) => ({
    id,
    ts: now - minutes * MINUTE,
    role,
    text,
    runId: `r-${id}`,
    ...more,
  });
  const messages = [
    message("5", 0.1, "user", "Move the dentist to Thursday morning, please.", {
      from: "clawdis-webchat",
      runId: "r-9",
    }),
    message(
      "4",
      14,
      "assistant",
      "Two things for today:\n\n1. **Call the bank** before noon\n2. Pick up the parcel at `Elm St 4`",
    ),
    message("3", 15, "user", "What do I have to do today?", { channel: "whatsapp", from: "Alex" }),
  ];
  const sessions = [
    { sessionKey: "main", sessionId: "s-1", updatedTs: now, messages: 128, lastChannel: "whatsapp" },
    {
      sessionKey: "dm:telegram:Sam",
      sessionId: "s-2",
      updatedTs: now - 42 * MINUTE,
      messages: 17,
      lastChannel: "telegram",
    },
    {
      sessionKey: "group:whatsapp:family",
      sessionId: "s-3",
      updatedTs: now - 300 * MINUTE,
      messages: 64,
      lastChannel: "whatsapp",
    },
  ];
  const channel = {
    configured: true,
    enabled: true,
    state: "ready",
    linked: true,
    lastMessageTs: now - 14 * MINUTE,
  };
  return [
    {
      "session-history": ({ sessionKey }, answer) => answer({ sessionKey, sessionId: "s-1", messages }),
      "sessions-list": (params, answer) => answer({ sessions }),
      status: (params, answer, fail) => fail({ code: "UNAVAILABLE", message: "not now" }),
    },
    ({ server, snapshot }) => {
      Object.assign(server, { version: "0.1.0", host: "raspberrypi" });
      snapshot.uptimeMs = 9 * 24 * 60 * MINUTE;
      Object.assign(snapshot.health.agent, { active: 1, state: "busy", sandbox: "bwrap" });
      Object.assign(snapshot.health.storage, { usedBytes: 41_300_000, freeBytes: 21_700_000_000 });
      Object.assign(snapshot.health.channels.telegram, channel, { self: "@alexbot" });
      Object.assign(snapshot.health.channels.whatsapp, channel, { self: "+1 555 000 1111" });
    },
  ];
}
