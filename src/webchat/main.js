// Puts the page together: what the gateway says goes to the views, what the person does to the
// gateway. The page dials its own origin only and reads nothing from its address.

import { Composer } from "./composer.js";
import { announceEnd, Conversation } from "./conversation.js";
import { byId } from "./dom.js";
import { Gateway, Refused } from "./gateway.js";
import { FRAME_OVERHEAD, HISTORY_PAGE, OUTBOX_MAX } from "./limits.js";
import { Linking } from "./linking.js";
import { OWN_NAME } from "./message_view.js";
import { Outbox } from "./outbox.js";
import { attachmentOf } from "./pictures.js";
import { Sessions } from "./sessions.js";
import { askForToken, ConnectionView, Drawers } from "./shell.js";
import { Status } from "./status_panel.js";
import { instanceId, openSession, reloadedFor, token } from "./storage.js";
import { Timeline } from "./timeline.js";

const { build, release } = document.documentElement.dataset;
const timelines = new Map();
const previews = new Map();
let current = openSession.get();
/** What the gateway's clock is ahead of this one, in ms. */
let clockAhead = 0;

const gateway = new Gateway(
  `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}/`,
  { name: OWN_NAME, version: release, platform: "browser", mode: "webchat", instanceId: instanceId() },
  token.get,
);
const composer = new Composer(submit);
const outbox = new Outbox(gateway, promptChanged);
const conversation = new Conversation({
  reuse: (text) => composer.write(text),
  outbox: { retry, discard },
  previews: (key) => previews.get(key) ?? [],
  loadOlder,
});
const sessions = new Sessions(gateway, openConversation, refreshHistory, (text) => composer.note(text));
const linking = new Linking(gateway);
const status = new Status(
  gateway,
  instanceId(),
  (channel) => linking.open(channel),
  (text) => composer.note(text),
);
const drawers = new Drawers((name) => name === "status" && gateway.isOpen && status.refresh());
new ConnectionView(gateway);
askForToken(gateway);

function timelineOf(sessionKey) {
  let timeline = timelines.get(sessionKey);
  if (!timeline) {
    timeline = new Timeline(sessionKey);
    timelines.set(sessionKey, timeline);
  }
  return timeline;
}

// ---- what the person does -----------------------------------------------------------------------

function openConversation(sessionKey) {
  current = sessionKey;
  openSession.set(sessionKey);
  composer.open(sessionKey);
  sessions.select(sessionKey);
  refreshHistory(sessionKey);
  conversation.show(timelineOf(sessionKey));
  drawers.closeOverlays();
  showStop();
}

async function submit({ session, text, thinking, files }) {
  if (!gateway.hello) throw new Error("Not connected yet; your text is kept.");
  const textBytes = new TextEncoder().encode(JSON.stringify(text)).length;
  const budget = gateway.hello.policy.maxPayload - textBytes - FRAME_OVERHEAD;
  if (budget < 0) throw new Error("This text is too long for one message.");
  if (outbox.entries.length >= OUTBOX_MAX) throw new Error("Too many messages wait already.");
  const share = Math.floor(budget / Math.max(1, files.length));
  const attachments = await Promise.all(files.map((file) => attachmentOf(file, share - 512)));
  conversation.follow();
  outbox.add(
    {
      sessionKey: session,
      message: text,
      ...(thinking ? { thinking } : {}),
      ...(attachments.length > 0 ? { attachments } : {}),
    },
    Date.now() + clockAhead,
    ({ key }) =>
      previews.set(
        key,
        files.map((file) => URL.createObjectURL(file)),
      ),
  );
}

function retry(key) {
  const shown = previews.get(key);
  timelineOf(current).dropPrompt(key);
  outbox.retry(key, (entry) => shown && previews.set(entry.key, shown));
  conversation.changed();
}

function discard(key) {
  outbox.discard(key);
  timelineOf(current).dropPrompt(key);
  conversation.changed();
}

function stop() {
  // The last first: the end of a run hands over to what waits behind it.
  for (const run of timelineOf(current).activeRuns.reverse()) {
    gateway.request("agent-cancel", { runId: run.id }).catch((error) => {
      // It may have ended just now.
      if (!(error instanceof Refused)) composer.note(error.message);
    });
  }
}

async function loadOlder() {
  const timeline = timelineOf(current);
  const params = { sessionKey: current, limit: HISTORY_PAGE, before: timeline.before };
  const page = await gateway.request("session-history", params).catch(() => undefined);
  if (page) timeline.takeOlder(page, params.before);
}

// ---- what the gateway says ------------------------------------------------------------------------

gateway.on("hello", (hello) => {
  clockAhead = hello.snapshot.health.ts - Date.now();
  for (const timeline of timelines.values()) timeline.missed();
  reloadIfOlder();
  outbox.resume();
  refresh();
  if (!byId("status").inert) status.refresh();
});

gateway.on("phase", ({ phase }) => {
  byId("panel").inert = phase !== "open";
  // A newer gateway may refuse an older page.
  if (phase === "refused") reloadIfOlder();
  if (phase !== "waiting") return;
  for (const timeline of timelines.values()) timeline.missed();
  conversation.changed();
  showStop();
});

gateway.on("gap", () => {
  for (const timeline of timelines.values()) timeline.missed();
  gateway.request("health").then(
    (health) => status.setHealth(health),
    () => {},
  );
  gateway.request("system-presence").then(
    (entries) => status.setPresence(entries),
    () => {},
  );
  refresh();
});

gateway.on("health", () => {
  if (status.runsUnderWay > 0) return;
  for (const timeline of timelines.values()) timeline.takeUnderWay(0);
  conversation.changed();
  showStop();
});

gateway.on("agent", (payload) => {
  const { run, isNew } = timelineOf(payload.sessionKey).takeStep(payload);
  const ended = payload.stream === "lifecycle" && payload.data.phase === "ended";
  if (ended) outbox.runEnded(run.id, run.status);
  // A run of somebody else: what they asked is on record only.
  if (isNew || ended) touched(payload.sessionKey);
  if (payload.sessionKey !== current) return;
  if (ended) announceEnd(run);
  showStop();
  conversation.changed();
});

gateway.on("message", (event) => {
  timelineOf(event.sessionKey).takeSurface(event, Date.now() + clockAhead);
  touched(event.sessionKey);
  if (event.sessionKey === current) conversation.changed();
});

/** A prompt of this page has got further; with `result` it is over. */
function promptChanged(entry, result) {
  const timeline = timelineOf(entry.params.sessionKey);
  timeline.takePrompt(entry);
  if (result) {
    timeline.run(entry.runId)?.finish(result.status, result.summary);
    if (result.status === "unknown") composer.note(result.summary);
    touched(entry.params.sessionKey);
  }
  if (entry.params.sessionKey === current) conversation.changed();
  showStop();
}

function refresh() {
  sessions.refresh();
  for (const [sessionKey, { loaded }] of timelines)
    if (loaded || sessionKey === current) refreshHistory(sessionKey);
}

function touched(sessionKey) {
  sessions.touched(sessionKey);
  if (timelineOf(sessionKey).loaded) refreshHistory(sessionKey);
}

async function refreshHistory(sessionKey) {
  const timeline = timelineOf(sessionKey);
  const { endedRuns } = timeline;
  timeline.isAwaitingFirst = !timeline.loaded;
  const params = { sessionKey, limit: HISTORY_PAGE };
  const page = await gateway.request("session-history", params).catch(() => undefined);
  timeline.isAwaitingFirst = false;
  if (page) {
    timeline.takeNewest(page, endedRuns);
    timeline.takeUnderWay(status.runsUnderWay);
  }
  if (sessionKey !== current) return;
  conversation.changed();
  showStop();
}

function showStop() {
  byId("stop").hidden = !gateway.isOpen || timelineOf(current).activeRuns.length === 0;
}

/** A page of an older build than its gateway's loads itself anew; drafts and prompts are kept. */
async function reloadIfOlder() {
  const answer = await fetch("/", { method: "HEAD", cache: "no-store" }).catch(() => undefined);
  const served = /"(\w+)"/.exec(answer?.headers.get("etag") ?? "")?.[1];
  if (!served || served === build || reloadedFor.get() === served) return;
  if (composer.losesByReload) {
    composer.note("A newer version of this page is there: reload it once this is sent.");
    return;
  }
  reloadedFor.set(served);
  location.reload();
}

// ---- beginning ------------------------------------------------------------------------------------

byId("stop").onclick = stop;
window.addEventListener("online", () => gateway.dial());
document.addEventListener("visibilitychange", () => !document.hidden && gateway.dialIfWaiting());
for (const entry of outbox.entries) timelineOf(entry.params.sessionKey).takePrompt(entry);
openConversation(current);
gateway.dial();
