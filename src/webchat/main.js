// Wires the page: makes its components, and says which of them hear what the gateway sends and what the person does.
// Keeps nothing itself. The page dials its own origin only and reads nothing from its address.
//
// Which component keeps what:
//   gateway       the connection, the last `hello-ok`, the gateway's clock
//   timelines     what there is to show of each session
//   prompts       this page's prompts whose end is not known yet, and their pictures
//   sessions      the list of sessions, which of them is open, where something new was said
//   status        health, presence, who was refused, what a person should mend
//   composer      what is being written in the open session
//   conversation  the reader's place in the open session
//   linking       the last login, and what was last said of it
//   storage.js    whatever outlives a reload
// The other components show what these keep, and keep nothing.

import { Composer } from "./composer.js";
import { announceEnd, Conversation } from "./conversation.js";
import { byId } from "./dom.js";
import { Gateway, RequestError } from "./gateway.js";
import { Linking } from "./linking.js";
import { OWN_NAME } from "./message_view.js";
import { Prompts } from "./prompts.js";
import { reloadIfOlder } from "./reload.js";
import { Sessions } from "./sessions.js";
import { ConnectionView, Drawers, TokenDialog } from "./shell.js";
import { Status } from "./status.js";
import { StatusPanel } from "./status_panel.js";
import { instanceId, token } from "./storage.js";
import { Timelines } from "./timelines.js";

// ---- components -----------------------------------------------------------------------------------

const { build, release } = document.documentElement.dataset;

const gateway = new Gateway(
  `${location.protocol === "https:" ? "wss:" : "ws:"}//${location.host}/`,
  { name: OWN_NAME, version: release, platform: "browser", mode: "webchat", instanceId: instanceId() },
  token.get,
);
const status = new Status(gateway, onStatusChange);
const timelines = new Timelines(gateway, () => status.runsUnderWay);
const prompts = new Prompts(gateway, onPromptChange);

const composer = new Composer(submit);
const showFailure = (text) => composer.showNote(text);
const sessions = new Sessions(gateway, { open: openSession, refresh: refreshHistory, showFailure });
const conversation = new Conversation({
  reuse: (text) => composer.write(text),
  prompts: { retry, discard },
  previews: (key) => prompts.previewsOf(key),
  loadOlder: () => timelines.fetchOlder(sessions.current),
});
const linking = new Linking(gateway);
const statusPanel = new StatusPanel(gateway, status, instanceId(), {
  link: (channel) => linking.open(channel),
  showFailure,
});
const drawers = new Drawers(onDrawerOpen);
const connectionView = new ConnectionView(gateway);
const tokenDialog = new TokenDialog(gateway);

/** Who hears what the gateway emits, in this order: what is kept is up to date before it is drawn. */
const LISTENERS = {
  connection: [connectionView.onConnection, tokenDialog.onConnection, onConnection],
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
  // Asked for before it is shown: until the first page of history is there, the timeline leaves out what ended.
  refreshHistory(sessionKey);
  conversation.show(timelines.of(sessionKey));
  drawers.closeOverlays();
  showStop();
}

async function submit(message) {
  await prompts.submit(message);
  conversation.follow();
}

function retry(key) {
  timelines.of(sessions.current).dropPrompt(key);
  prompts.retry(key);
  conversation.drawSoon();
}

function discard(key) {
  prompts.discard(key);
  timelines.of(sessions.current).dropPrompt(key);
  conversation.drawSoon();
}

function stop() {
  // The last first: when a run ends, the next one of its session begins.
  for (const run of timelines.of(sessions.current).runsUnderWay.reverse()) {
    gateway.request("agent-cancel", { runId: run.id }).catch((error) => {
      // The run may have ended just now: that is no failure to tell of.
      if (!(error instanceof RequestError)) showFailure(error.message);
    });
  }
}

function onDrawerOpen(name) {
  if (name === "status") statusPanel.refresh();
}

// ---- what the gateway sends -----------------------------------------------------------------------

function onConnection({ state }) {
  byId("panel").inert = state !== "open";
  // A newer gateway may refuse an older page.
  if (state === "refused") reloadIfOlder(build, mayReload);
  if (state !== "waiting") return;
  timelines.markStepsMissed();
  drawSession();
}

function onHello() {
  timelines.markStepsMissed();
  reloadIfOlder(build, mayReload);
  prompts.resume();
  refreshAll();
  statusPanel.refresh();
}

function onGap() {
  timelines.markStepsMissed();
  refreshAll();
}

function onHealth() {
  if (status.runsUnderWay > 0) return;
  timelines.dropRunsUnderWay();
  drawSession();
}

function onAgent(payload) {
  const { run, isNew } = timelines.of(payload.sessionKey).applyStep(payload);
  const isOver = payload.stream === "lifecycle" && payload.data.phase === "ended";
  if (isOver) prompts.onRunEnded(run.id, run.status);
  // The prompt of a run that another client asked for is in no step, but on record.
  if (isNew || isOver) onRecordChange(payload.sessionKey);
  if (payload.sessionKey !== sessions.current) return;
  if (isOver) announceEnd(run);
  drawSession();
}

function onMessage(event) {
  timelines.of(event.sessionKey).addChannelMessage(event, gateway.now());
  onRecordChange(event.sessionKey);
  if (event.sessionKey === sessions.current) conversation.drawSoon();
}

// ---- what follows ---------------------------------------------------------------------------------

function onStatusChange() {
  statusPanel.draw();
}

/** A prompt of this page has another state; with `result` it has ended. */
function onPromptChange(prompt, result) {
  const { sessionKey } = prompt.params;
  const timeline = timelines.of(sessionKey);
  timeline.setPrompt(prompt);
  if (result) {
    timeline.run(prompt.runId)?.finish(result.status, result.summary);
    if (result.status === "unknown") showFailure(result.summary);
    onRecordChange(sessionKey);
  }
  if (sessionKey === sessions.current) conversation.drawSoon();
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
  if (sessionKey === sessions.current) drawSession();
}

/** Draws what has changed of the open session. */
function drawSession() {
  conversation.drawSoon();
  showStop();
}

function showStop() {
  byId("stop").hidden = !gateway.isOpen || timelines.of(sessions.current).runsUnderWay.length === 0;
}

/** Whether a reload loses nothing that the person has written; if it would, they are told to reload later. */
function mayReload() {
  if (composer.saveDraft()) return true;
  showFailure("A newer version of this page is there: reload it once this is sent.");
  return false;
}

// ---- beginning ------------------------------------------------------------------------------------

for (const [name, listeners] of Object.entries(LISTENERS)) {
  for (const listener of listeners) gateway.on(name, listener);
}
byId("stop").onclick = stop;
window.addEventListener("online", () => gateway.dial());
document.addEventListener("visibilitychange", () => !document.hidden && gateway.dialIfWaiting());
for (const prompt of prompts.all) timelines.of(prompt.params.sessionKey).setPrompt(prompt);
openSession(sessions.current);
gateway.dial();
