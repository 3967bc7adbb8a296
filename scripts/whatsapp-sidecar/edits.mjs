/**
 * What we change in the packages that go into the bundle. Every edit names the exact text that it replaces;
 * the build fails when that text is not there once, so that an update cannot drop an edit unseen.
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
    file: 'baileys/lib/Utils/auth-utils.js',
    why: 'lets a transaction commit what it has so far',
    find: '        isInTransaction,\n        transaction: async (work, key) => {',
    put: `        isInTransaction,
        commit: async () => {
            const ctx = txStorage.getStore();
            if (!ctx) return;
            const mutations = ctx.mutations;
            ctx.mutations = {};
            await commitWithRetry(mutations);
        },
        transaction: async (work, key) => {`
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
    why: 'downloads of Baileys itself take our way out, with its proxy; Node\'s fetch stays unloaded (it is large)',
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
