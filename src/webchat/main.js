// Puts the page together: makes its parts, and says what follows from what. What the gateway says goes to the parts
// that keep it and to the views, what the person does to the gateway. Keeps nothing itself. The page dials its own
// origin only and reads nothing from its address.
//
// Who keeps what:
//   gateway       the connection, the last `hello-ok`, the gateway's clock
//   timelines     what is said in each session
//   outbox        this page's prompts on their way, and their pictures
//   sessions      the list of sessions, which of them is open, where something new was said
//   status        health, presence, who was refused, what to mend
//   composer      what is being written in the open session
//   conversation  where the reader is in the open session
//   storage.js    whatever outlives a reload

import { Composer } from "./composer.js";
import { announceEnd, Conversation } from "./conversation.js";
import { byId } from "./dom.js";
import { Gateway, Refused } from "./gateway.js";
import { FRAME_OVERHEAD_BYTES, OUTBOX_MAX } from "./limits.js";
import { Linking } from "./linking.js";
import { OWN_NAME } from "./message_view.js";
import { Outbox } from "./prompts.js";
import { attachmentsOf } from "./pictures.js";
import { Sessions } from "./sessions.js";
import { ConnectionView, Drawers, TokenDialog } from "./shell.js";
import { Status } from "./status.js";
import { StatusPanel } from "./status_panel.js";
import { instanceId, reloadedFor, token } from "./storage.js";
import { Timelines } from "./timelines.js";

// ---- the parts ------------------------------------------------------------------------------------

const { build, release } = document.documentElement.dataset;
const showNote = (text) => composer.showNote(text);

const gateway = new Gateway(
  `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}/`,
  { name: OWN_NAME, version: release, platform: "browser", mode: "webchat", instanceId: instanceId() },
  token.get,
);
const status = new Status(gateway, () => statusPanel.draw());
const timelines = new Timelines(gateway, () => status.runsUnderWay);
const outbox = new Outbox(gateway, onPromptChange);
const sessions = new Sessions(gateway, { open: openSession, refresh: refreshHistory, showFailure: showNote });

const composer = new Composer(submit);
const conversation = new Conversation({
  reuse: (text) => composer.write(text),
  outbox: { retry, discard },
  previews: (key) => outbox.previewsOf(key),
  loadOlder: () => timelines.fetchOlder(sessions.current),
});
const linking = new Linking(gateway);
const statusPanel = new StatusPanel(gateway, status, instanceId(), {
  link: (channel) => linking.open(channel),
  showFailure: showNote,
});
const drawers = new Drawers((name) => name === "status" && statusPanel.refresh());
const connectionView = new ConnectionView(gateway);
const tokenDialog = new TokenDialog(gateway);

/** Who hears what the gateway says, in this order: what is kept is up to date before it is drawn. */
const LISTENERS = {
  phase: [connectionView.onPhase, tokenDialog.onPhase, onPhase],
  hello: [sessions.onHello, status.onHello, connectionView.onHello, onHello],
  gap: [onGap, status.onGap],
  health: [status.onHealth, connectionView.onHealth, onHealth],
  presence: [status.onPresence],
  agent: [onAgent],
  message: [onMessage],
  channel: [linking.onChannel],
  shutdown: [connectionView.onShutdown],
};

// ---- what the person does -------------------------------------------------------------------------

function openSession(sessionKey) {
  composer.open(sessionKey);
  sessions.select(sessionKey);
  // Asked for first: what is on its way is not drawn half.
  refreshHistory(sessionKey);
  conversation.show(timelines.of(sessionKey));
  drawers.closeOverlays();
  showStop();
}

async function submit({ session, text, thinking, files }) {
  if (!gateway.hello) throw new Error("Not connected yet; your text is kept.");
  const textBytes = new TextEncoder().encode(JSON.stringify(text)).length;
  const budget = gateway.hello.policy.maxPayload - textBytes - FRAME_OVERHEAD_BYTES;
  if (budget < 0) throw new Error("This text is too long for one message.");
  if (outbox.entries.length >= OUTBOX_MAX) throw new Error("Too many messages wait already.");
  const attachments = await attachmentsOf(files, budget);
  conversation.follow();
  const params = {
    sessionKey: session,
    message: text,
    ...(thinking ? { thinking } : {}),
    ...(attachments.length > 0 ? { attachments } : {}),
  };
  const previews = files.map((file) => URL.createObjectURL(file));
  outbox.add(params, gateway.now(), previews);
}

function retry(key) {
  timelines.of(sessions.current).dropPrompt(key);
  outbox.retry(key);
  conversation.changed();
}

function discard(key) {
  outbox.discard(key);
  timelines.of(sessions.current).dropPrompt(key);
  conversation.changed();
}

function stop() {
  // The last first: the end of a run hands over to what waits behind it.
  for (const run of timelines.of(sessions.current).activeRuns.reverse()) {
    gateway.request("agent-cancel", { runId: run.id }).catch((error) => {
      // It may have ended just now.
      if (!(error instanceof Refused)) showNote(error.message);
    });
  }
}

// ---- what the gateway says ------------------------------------------------------------------------

function onPhase({ phase }) {
  byId("panel").inert = phase !== "open";
  // A newer gateway may refuse an older page.
  if (phase === "refused") reloadIfOlder();
  if (phase !== "waiting") return;
  timelines.markMissed();
  showChange();
}

function onHello() {
  timelines.markMissed();
  reloadIfOlder();
  outbox.resume();
  refreshAll();
  statusPanel.refresh();
}

function onGap() {
  timelines.markMissed();
  refreshAll();
}

function onHealth() {
  if (status.runsUnderWay > 0) return;
  timelines.dropRunsUnderWay();
  showChange();
}

function onAgent(payload) {
  const { run, isNew } = timelines.of(payload.sessionKey).applyStep(payload);
  const isOver = payload.stream === "lifecycle" && payload.data.phase === "ended";
  if (isOver) outbox.onRunEnded(run.id, run.status);
  // A run of somebody else: what they asked is on record only.
  if (isNew || isOver) onRecordChange(payload.sessionKey);
  if (payload.sessionKey !== sessions.current) return;
  if (isOver) announceEnd(run);
  showChange();
}

function onMessage(event) {
  timelines.of(event.sessionKey).addChannelMessage(event, gateway.now());
  onRecordChange(event.sessionKey);
  if (event.sessionKey === sessions.current) conversation.changed();
}

// ---- what follows ---------------------------------------------------------------------------------

/** A prompt of this page has got further; with `result` it is over. */
function onPromptChange(entry, result) {
  const { sessionKey } = entry.params;
  const timeline = timelines.of(sessionKey);
  timeline.setPrompt(entry);
  if (result) {
    timeline.run(entry.runId)?.finish(result.status, result.summary);
    if (result.status === "unknown") showNote(result.summary);
    onRecordChange(sessionKey);
  }
  if (sessionKey === sessions.current) conversation.changed();
  showStop();
}

/** There is more on record of a session than the page has. */
function onRecordChange(sessionKey) {
  sessions.touch(sessionKey);
  if (timelines.of(sessionKey).isLoaded) refreshHistory(sessionKey);
}

function refreshAll() {
  sessions.refresh();
  for (const sessionKey of new Set([...timelines.loadedKeys, sessions.current])) refreshHistory(sessionKey);
}

async function refreshHistory(sessionKey) {
  await timelines.fetchNewest(sessionKey);
  if (sessionKey === sessions.current) showChange();
}

/** Draws the open session anew. */
function showChange() {
  conversation.changed();
  showStop();
}

function showStop() {
  byId("stop").hidden = !gateway.isOpen || timelines.of(sessions.current).activeRuns.length === 0;
}

/** A page of an older build than its gateway's loads itself anew; drafts and prompts are kept. */
async function reloadIfOlder() {
  const answer = await fetch("/", { method: "HEAD", cache: "no-store" }).catch(() => undefined);
  const served = /"(\w+)"/.exec(answer?.headers.get("etag") ?? "")?.[1];
  if (!served || served === build || reloadedFor.get() === served) return;
  if (composer.hasUnsaved) {
    showNote("A newer version of this page is there: reload it once this is sent.");
    return;
  }
  reloadedFor.set(served);
  location.reload();
}

// ---- beginning ------------------------------------------------------------------------------------

for (const [name, listeners] of Object.entries(LISTENERS)) {
  for (const listener of listeners) gateway.on(name, listener);
}
byId("stop").onclick = stop;
window.addEventListener("online", () => gateway.dial());
document.addEventListener("visibilitychange", () => !document.hidden && gateway.dialIfWaiting());
for (const entry of outbox.entries) timelines.of(entry.params.sessionKey).setPrompt(entry);
openSession(sessions.current);
gateway.dial();
