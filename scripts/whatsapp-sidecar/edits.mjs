/**
 * What is changed in the packages that go into the bundle, by build.mjs. Every edit names the exact text that it
 * replaces; the build fails when that text is not there once, so that an update cannot drop an edit unseen.
 */

/** @type {{file: string, why: string, find: string, put: string}[]} */
export const EDITS = [
  {
    file: 'baileys/lib/Utils/crypto.js',
    why: 'Curve.verify ignored the answer: every certificate and signature passed',
    find: `            curve.verifySignature(generateSignalPubKey(pubKey), message, signature);
            return true;`,
    put: '            return curve.verifySignature(generateSignalPubKey(pubKey), message, signature) === true;'
  },
  {
    file: 'baileys/lib/Utils/noise-handler.js',
    why: 'the certificate must be that of the key which the server used',
    find: '            if (issuerSerial !== WA_CERT_DETAILS.SERIAL) {',
    put: `            const leafKey = proto.CertChain.NoiseCertificate.Details.decode(leaf.details).key;
            if (!leafKey || Buffer.compare(leafKey, decStaticContent) !== 0) {
                throw new Boom('noise certificate is for another key', { statusCode: 400 });
            }
            if (issuerSerial !== WA_CERT_DETAILS.SERIAL) {`
  },
  {
    file: 'libsignal/src/session_builder.js',
    why: "a contact's signed pre-key was used without its signature being checked",
    find: `            curve.verifySignature(device.identityKey, device.signedPreKey.publicKey,
                                  device.signedPreKey.signature, true);`,
    put: `            if (!curve.verifySignature(device.identityKey, device.signedPreKey.publicKey,
                                       device.signedPreKey.signature)) {
                throw new Error('signed pre-key with a wrong signature');
            }`
  },
  ...[
    ['console.warn("Session already closed", session);', 'console.warn("Session already closed");'],
    ['console.info("Closing session:", session);', 'console.info("Closing session");'],
    ['console.info("Opening session:", session);', 'console.info("Opening session");'],
    ['console.info("Removing old closed session:", oldestSession);', 'console.info("Removing old session");']
  ].map(([find, put]) => ({
    file: 'libsignal/src/session_record.js',
    why: 'it printed sessions with their private keys',
    find,
    put
  })),
  {
    file: 'baileys/lib/Socket/messages-recv.js',
    why: 'keys and plaintext become durable together, and before the receipt goes out',
    find: '                await decrypt();',
    put: '                await config.onInbound(node, msg, decrypt);'
  },
  {
    file: 'libsignal/src/queue_job.js',
    why: "a queued job ran in its predecessor's transaction, and its keys were committed or rolled back with that",
    find: `queue.push({
        awaitable,`,
    put: `queue.push({
        awaitable: require('node:async_hooks').AsyncResource.bind(awaitable),`
  },
  ...[
    [
      'msg.previousCounter = session.currentRatchet.previousCounter;',
      'msg.previousCounter = Math.max(0, session.currentRatchet.previousCounter);'
    ],
    [
      'this.fillMessageKeys(previousRatchet, previousCounter);',
      'this.fillMessageKeys(previousRatchet, previousCounter | 0);'
    ]
  ].map(([find, put]) => ({
    file: 'libsignal/src/session_cipher.js',
    why: 'the counter of a chain that was never used, -1, went out as 4294967295, and was refused as such',
    find,
    put
  })),
  {
    file: 'baileys/lib/Signal/Group/sender-message-key.js',
    why: 'a saved key of a skipped group message comes back as a plain object, and late messages failed',
    find: 'deriveSecrets(seed, ',
    put: 'deriveSecrets(Buffer.from(seed), '
  },
  ...[
    [
      `        get: async (type, ids) => {
            const ctx = txStorage.getStore();
            if (!ctx) {`,
      `        get: async (type, ids) => {
            const ctx = txStorage.getStore();
            if (!ctx || isRatchet(type)) {`
    ],
    [
      `        set: async (data) => {
            const ctx = txStorage.getStore();`,
      `        set: async (all) => {
            const pick = wanted => Object.fromEntries(Object.entries(all).filter(([type]) => isRatchet(type) === wanted));
            await state.set(pick(true));
            const data = pick(false);
            const ctx = txStorage.getStore();`
    ],
    [
      'export const addTransactionCapability = (',
      `const isRatchet = type => type === 'session' || type === 'sender-key';
export const addTransactionCapability = (`
    ]
  ].map(([find, put]) => ({
    file: 'baileys/lib/Utils/auth-utils.js',
    why: 'a transaction kept a copy of a session while it waited, and wrote it over what had been received meanwhile',
    find,
    put
  })),
  {
    file: 'baileys/lib/Utils/auth-utils.js',
    why: 'a queue of writes ran them in the context of whoever came first; the store needs no queue',
    find: `                await Promise.all(types.map(type => getQueue(type).add(async () => {
                    const typeData = { [type]: data[type] };
                    await state.set(typeData);
                })));`,
    put: '                await state.set(data);'
  },
  {
    file: 'baileys/lib/Utils/auth-utils.js',
    why: 'lets a sender wait until its keys are durable',
    find: '        isInTransaction,\n        transaction: async (work, key) => {',
    put: '        isInTransaction,\n        commit: () => state.commit(),\n        transaction: async (work, key) => {'
  },
  {
    file: 'baileys/lib/Socket/messages-send.js',
    why: 'the sending key must have moved on durably before the message leaves, or it is used twice after a crash',
    find: `            logger.debug({ msgId }, \`sending message to \${participants.length} devices\`);
            await sendNode(stanza);`,
    put: `            await authState.keys.commit();
            await sendNode(stanza);`
  },
  {
    file: 'baileys/lib/Utils/messages-media.js',
    why: "downloads of Baileys itself take our way out, with its proxy; Node's fetch stays unloaded (it is large)",
    find: 'export const getHttpStream = async (url, options = {}) => {',
    put: 'export const getHttpStream = async (url, options = {}) => {\n    return options.openStream(url);'
  }
]

/** What replaces whole modules: by import name, or by the end of a file's path. */
export const SHIMS = {
  names: {
    'whatsapp-rust-bridge': 'crypto.mjs',
    pino: 'pino.mjs',
    'music-metadata': 'nothing.mjs',
    'audio-decode': 'nothing.mjs',
    'link-preview-js': 'nothing.mjs',
    jimp: 'nothing.mjs',
    sharp: 'nothing.mjs'
  },
  files: { 'baileys/lib/WAM/constants.js': 'wam-constants.mjs' }
}
