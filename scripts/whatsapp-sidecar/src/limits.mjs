// Every number that bounds or times something in the sidecar, with what happens when it is reached.

/** Version of the stdio protocol; `hello` with another one is refused. */
export const PROTOCOL = 1

/** A longer line on stdin is skipped and answered by an error. */
export const LINE_BYTES_MAX = 1 << 20
/** Bytes waiting for the gateway to read; above it nothing more is read or shown until it has. */
export const OUT_BYTES_HIGH = 1 << 20
/** Requests at work at once; one more is answered `busy`. */
export const REQUESTS_MAX = 256
/** Characters of text that a message may have (WhatsApp's own bound); more is answered `invalid`. */
export const TEXT_CHARS_MAX = 65_536
/** Characters kept of an id and of a name that somebody chose; a longer one is cut. */
export const ID_CHARS_MAX = 128
export const NAME_CHARS_MAX = 128
/** Characters of an attachment's name and MIME type; the rest is cut. */
export const FILE_NAME_CHARS_MAX = 255
/** Latest time in seconds that is taken for one; a date after the year 9999 is a lie. */
export const SECONDS_MAX = 253_402_300_799
/** Characters of an attachment's path, bytes of its key and hash; a message with longer ones is shown without it. */
export const PATH_CHARS_MAX = 4_096
export const KEY_BYTES_MAX = 256
/**
 * People that a sent message may mention, keys in one `read`, numbers in one `resolve`; more are answered `invalid`.
 */
export const LIST_MAX = 256

/** Messages shown to the gateway and not yet acknowledged; the rest waits in the journal. */
export const UNACKED_MAX = 100
/** Unacknowledged messages above which the server is not read any more, and down to which before it is read again. */
export const INBOX_HIGH = 500
export const INBOX_LOW = 250

/** Newest messages whose repetition is recognised. */
export const RECENT_MAX = 1_000

/** The journal is rewritten when it has grown by this and by the size of what is alive. */
export const JOURNAL_SLACK_BYTES = 1 << 20
/** Notes of processed history in the credentials, to which Baileys adds without end; the oldest are dropped. */
export const HISTORY_NOTES_MAX = 20

/** First delay of a reconnect; it doubles up to the maximum, and is forgotten after so long a connection. */
export const RETRY_FIRST_MS = 1_000
export const RETRY_MAX_MS = 300_000
export const RETRY_FORGOTTEN_MS = 120_000
/** Share of the delay that is random, so that not everybody comes back at once. */
export const RETRY_JITTER = 0.25
/** Restarts in a row that follow at once when the server asks for them (515); further ones are delayed. */
export const RESTARTS_MAX = 3
/** Refusals with 500 in a row, each soon after connecting, from which the login counts as a bad session. */
export const BAD_SESSION_AFTER = 5

/** A connection attempt that has come to nothing by then is ended. */
export const CONNECT_MS = 60_000
/** Longest wait for the socket's handshake, and for the answer to a query; then it has failed. */
export const HANDSHAKE_MS = 30_000
export const QUERY_MS = 60_000
/** How long the end of the backlog is waited for once the connection is open; then the backlog counts as over. */
export const SYNC_MS = 60_000
/** How long a socket that is closed waits for its peer to close it too; then it is torn down. */
export const CLOSE_MS = 500
/** Longest wait for the server's answer to a logout; then it counts as not heard. */
export const LOGOUT_MS = 5_000
/** A message that cannot be decrypted is reported when its repetition has not come by then. */
export const UNDECRYPTABLE_MS = 60_000
/** How long a QR code lives: the first one, and those after it (both set by Baileys). */
export const QR_FIRST_MS = 60_000
export const QR_NEXT_MS = 20_000
/** A pairing code lives as long as the six QR codes that the server offers in its stead. */
export const CODE_MS = QR_FIRST_MS + 5 * QR_NEXT_MS

/** Inbound media above this is refused, unless `hello` or `fetch` say otherwise. */
export const MEDIA_BYTES_MAX = 20 << 20
/** Silence after which a media connection is given up. */
export const MEDIA_IDLE_MS = 30_000
/** Redirections that a download follows; one more fails it. */
export const REDIRECTS_MAX = 3
/** How long the phone may take to upload a file again; then the file counts as gone. */
export const RENEW_MS = 30_000
/** Bytes of a proxy's answer; a longer one fails the connection. */
export const PROXY_ANSWER_BYTES_MAX = 8_192
/** Silence of a proxy, before it has let a connection through, after which that has failed. */
export const PROXY_MS = 30_000

/** Group descriptions kept, and for how long when nothing changes them. */
export const GROUPS_MAX = 200
export const GROUP_MS = 3_600_000
/** Entries of each cache of Baileys; the oldest are forgotten. */
export const CACHE_MAX = 1_000
/** How long Baileys remembers how often a message was asked for again, and messages that came without content. */
export const RESEND_MS = 3_600_000
/** How long Baileys remembers people's devices and offers of calls. */
export const DEVICES_MS = 5 * 60_000
/** Sent messages whose acknowledgement is passed on, and for how long; the oldest are forgotten. */
export const SENT_MAX = 1_000
export const SENT_MS = 86_400_000
/** How long the gateway may take over `need-body`; then the contact gets nothing. */
export const BODY_MS = 10_000

/** Log lines in a window of time; more are only counted. */
export const LOG_LINES_MAX = 20
export const LOG_WINDOW_MS = 10_000
/** Characters of a log line or of an error's text; the rest is cut. */
export const LOG_CHARS_MAX = 500
/** How long a process that is to end waits for its connection to close and its last lines to get out. */
export const LAST_LINE_MS = 1_000
