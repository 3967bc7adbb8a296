// Every number that bounds or times something in the page, each with what happens when it is reached.

/**
 * Longest wait from dialling to `hello-ok`, in ms; then the page dials again. The gateway lets a wrong token wait for up
 * to 23 s.
 */
export const CONNECT_MS = 30_000;
/** First pause before dialling again, in ms; it doubles up to `RECONNECT_MAX_MS`. */
export const RECONNECT_MIN_MS = 500;
/** Longest pause before dialling again, in ms. */
export const RECONNECT_MAX_MS = 15_000;
/** Share of a pause that chance decides, so that a gateway's clients do not come back all at once. */
export const RECONNECT_JITTER = 0.4;
/** So many tick intervals and `SILENCE_SLACK_MS` without a frame mean that the connection is dead. */
export const SILENT_TICKS = 2;
/** See `SILENT_TICKS`; in ms. */
export const SILENCE_SLACK_MS = 2_000;
/** Longest wait for the one answer to a request that starts nothing long, in ms. */
export const REQUEST_MS = 15_000;
/** Age from which an idempotency key is not sent again, in ms: the gateway remembers it for 5 minutes. */
export const KEY_RESEND_MS = 4 * 60_000;
/** Pages of history that are searched for the prompt of a key that old; one farther back counts as never arrived. */
export const KEY_SEARCH_PAGES = 5;
/** Messages of a page of history. */
export const HISTORY_PAGE = 50;
/** Messages of a page when a key is searched. */
export const SEARCH_PAGE = 200;
/** Sessions of a page of the list. */
export const SESSIONS_PAGE = 50;
/** Prompts that may wait to be sent; then the composer refuses more. */
export const PROMPTS_MAX = 32;
/** Characters of the page's locale and user agent in `hello`, as its schema has it; the rest is cut. */
export const CLIENT_TEXT_MAX = 256;
/** Pictures of one message, as the schema of `agent` has it; the composer takes no more. */
export const PICTURES_MAX = 4;
/** Bytes of a frame that are neither the message's text nor its pictures. */
export const FRAME_OVERHEAD_BYTES = 4 * 1024;
/** Bytes of a picture's attachment that are not its content. */
export const ATTACHMENT_OVERHEAD_BYTES = 512;
/** Longest edge of a picture, in pixels; models look at no more. */
export const PICTURE_EDGE_MAX = 2_000;
/** Shortest edge that a picture is scaled down to, in pixels; if it still does not fit it is refused. */
export const PICTURE_EDGE_MIN = 160;
/** Quality of a scaled picture as JPEG. */
export const PICTURE_QUALITY = 0.85;
/** Largest file that is opened as a picture, in bytes; a larger one is refused. */
export const PICTURE_FILE_MAX = 64 * 1024 * 1024;
/** Characters of a picture's name; the rest is cut. */
export const PICTURE_NAME_MAX = 200;
/** Height that the message field grows to, in pixels. */
export const PROMPT_HEIGHT_MAX = 220;
/** Distance from the end, in pixels, within which a conversation follows new text. */
export const FOLLOW_PX = 90;
/** Characters of an answer that a screen reader is given by itself. */
export const ANNOUNCE_MAX = 300;
/** How long a button that copies shows that it has, in ms. */
export const COPIED_MS = 1_500;
/** Interval at which the time until the next attempt to connect is shown, in ms. */
export const COUNTDOWN_MS = 1_000;
/** Characters of a tool's arguments in its folded card. */
export const TOOL_PREVIEW_MAX = 90;
/** Pause between an event and the new list of sessions that is asked for, in ms: one for a burst of events. */
export const SESSIONS_REFRESH_MS = 400;
/** Interval at which the status is asked for while the panel can be seen, in ms: no event tells all of it. */
export const PANEL_REFRESH_MS = 20_000;
/** Characters of a draft that are stored; the rest is cut. */
export const DRAFT_MAX = 200_000;
/** Longest time between a `message` event and the record of the same message, in ms. */
export const SAME_MESSAGE_MS = 10_000;
