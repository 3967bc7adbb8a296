// Every number that bounds something, with what happens when it is reached.

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
/** Latest time in seconds that is taken for one; a date after the year 9999 is a lie. */
export const SECONDS_MAX = 253_402_300_799
/** Path, and key or hash, of an attachment; with longer ones it is none. */
export const PATH_CHARS_MAX = 4_096
export const KEY_BYTES_MAX = 256
/** People that a message may mention, keys in one `read`, numbers in one `resolve`. */
export const LIST_MAX = 256

/** Messages shown to the gateway and not yet acknowledged; the rest waits in the journal. */
export const UNACKED_MAX = 100
/** Unacknowledged messages at which the server is not read any more, and at which it is again. */
export const INBOX_HIGH = 500
export const INBOX_LOW = 250

/** Newest messages whose repetition is recognised. */
export const RECENT_MAX = 1_000

/** The journal is rewritten when it has grown by this and by the size of what is alive. */
export const JOURNAL_SLACK_BYTES = 1 << 20
/** Notes of processed history that Baileys keeps in the credentials without end. */
export const HISTORY_NOTES_MAX = 20

/** First delay of a reconnect; it doubles up to the maximum, and is forgotten after so long a connection. */
export const RETRY_FIRST_MS = 1_000
export const RETRY_MAX_MS = 300_000
export const RETRY_FORGOTTEN_MS = 120_000
/** Share of the delay that is random, so that not everybody comes back at once. */
export const RETRY_JITTER = 0.25
/** Restarts asked for by the server (515) in a row that are obeyed at once. */
export const RESTARTS_MAX = 3
/** Refusals with 500 right after the login that count as a bad session. */
export const BAD_SESSION_AFTER = 5

/** A connection attempt that has come to nothing by then is ended. */
export const CONNECT_MS = 60_000
/** The handshake of the socket, and one query. */
export const HANDSHAKE_MS = 30_000
export const QUERY_MS = 60_000
/** How long after opening the end of the offline messages is waited for. */
export const SYNC_MS = 60_000
/** A logout waits so long for the server. */
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
/** Silence on a media connection after which it is given up, and redirections followed. */
export const MEDIA_IDLE_MS = 30_000
export const REDIRECTS_MAX = 3
/** How long the phone may take to upload a file again. */
export const RENEW_MS = 30_000
/** Answer of a proxy that is still no answer. */
export const PROXY_ANSWER_BYTES_MAX = 8_192
export const PROXY_MS = 30_000

/** Group descriptions kept, and for how long when nothing changes them. */
export const GROUPS_MAX = 200
export const GROUP_MS = 3_600_000
/** Entries of the other caches (retry counts, device lists, placeholders). */
export const CACHE_MAX = 1_000
/** Ids of sent messages whose acknowledgement is still of interest. */
export const SENT_MAX = 1_000
/** How long the gateway may take to find the body of a message that a contact asks for again. */
export const BODY_MS = 10_000

/** Log lines in ten seconds; the rest is counted. */
export const LOG_LINES_MAX = 20
export const LOG_WINDOW_MS = 10_000
export const LOG_CHARS_MAX = 500
/** How long a dying process tries to say its last line. */
export const LAST_LINE_MS = 1_000
