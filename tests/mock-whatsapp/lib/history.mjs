// What the phone sends to a client that has just been linked: the key of the app state, then the first history. Called
// by queries.mjs when a client becomes active.
import { randomBytes } from 'node:crypto'
import { deflateSync } from 'node:zlib'
import { fromPhone } from './incoming.mjs'
import { lidJid, newId, pnJid } from './jids.mjs'
import { encryptMedia } from './media.mjs'
import { nowSec, proto } from './wa.mjs'

const INLINE_BYTES_MAX = 8 << 20
const FIRST_CONTACT = 15551110000

/** Sends it once to each client, if the knob `history` is set. */
export async function shareHistory(wa, { account, companion }) {
  if (!wa.knobs.history || companion.historySent) return
  companion.historySent = true
  const { APP_STATE_SYNC_KEY_SHARE, HISTORY_SYNC_NOTIFICATION } = proto.Message.ProtocolMessage.Type
  const keys = [appStateKey(companion)]
  const share = { type: APP_STATE_SYNC_KEY_SHARE, appStateSyncKeyShare: { keys } }
  await fromPhone(wa, account, companion, { protocolMessage: share })
  const history = bootstrap(wa)
  const packed = deflateSync(Buffer.from(proto.HistorySync.encode(history).finish()))
  const note = { syncType: history.syncType, chunkOrder: 0, progress: 100, ...carrier(wa, packed) }
  const protocolMessage = { type: HISTORY_SYNC_NOTIFICATION, historySyncNotification: note }
  await fromPhone(wa, account, companion, { protocolMessage })
  wa.log('history-sent', { account: account.pn, device: companion.id, bytes: packed.length })
}

function appStateKey(companion) {
  const fingerprint = { rawId: 1, currentIndex: 0, deviceIndexes: [0] }
  return {
    keyId: { keyId: Buffer.from([0, 0, 0, 0, 0, companion.id]) },
    keyData: { keyData: randomBytes(32), fingerprint, timestamp: nowSec() }
  }
}

/** Small histories travel in the message, large ones through the media store. */
function carrier(wa, packed) {
  if (wa.knobs.historyInline && packed.length < INLINE_BYTES_MAX)
    return { initialHistBootstrapInlinePayload: packed }
  const { mediaKey, enc, fileSha256, fileEncSha256, fileLength } = encryptMedia(packed, 'history')
  return { mediaKey, directPath: wa.media.put(enc), fileSha256, fileEncSha256, fileLength }
}

function bootstrap(wa) {
  const { historyConversations, historyMessages } = wa.knobs
  const people = Array.from({ length: historyConversations }, (_, i) => wa.people.person(FIRST_CONTACT + i))
  return {
    syncType: proto.HistorySync.HistorySyncType.INITIAL_BOOTSTRAP,
    chunkOrder: 0,
    progress: 100,
    phoneNumberToLidMappings: people.map(({ pn, lid }) => ({ pnJid: pnJid(pn), lidJid: lidJid(lid) })),
    conversations: people.map(person => conversation(person, historyMessages))
  }
}

function conversation({ pn, lid, name }, count) {
  const messages = Array.from({ length: count }, (_, i) => ({
    message: {
      key: { remoteJid: lidJid(lid), fromMe: false, id: newId() },
      message: { conversation: `old message ${i} ${'x'.repeat(80)}` },
      messageTimestamp: nowSec() - 3600 + i
    }
  }))
  const attrs = { conversationTimestamp: nowSec(), unreadCount: 0 }
  return { id: lidJid(lid), pnJid: pnJid(pn), name, ...attrs, messages }
}
