// How times, sizes and names are written. Pure functions, for every view.

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const date = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto", style: "short" });

const CHANNELS = { whatsapp: "WhatsApp", telegram: "Telegram" };

/** Hour and minute. */
export const timeOf = (ts) => clock.format(ts);
/** Date and time in full. */
export const momentOf = (ts) => full.format(ts);
/** What a channel is called. */
export const channelName = (channel) => CHANNELS[channel] ?? channel;

/** The day of a moment: `Today`, `Yesterday` or its date. */
export function dayOf(ts, now = Date.now()) {
  const day = new Date(ts).toDateString();
  if (day === new Date(now).toDateString()) return "Today";
  const yesterday = new Date(now);
  yesterday.setDate(yesterday.getDate() - 1);
  return day === yesterday.toDateString() ? "Yesterday" : date.format(ts);
}

/** How long ago a moment is, such as `3 min. ago`. */
export function ago(ts, now = Date.now()) {
  const seconds = Math.min(0, Math.round((ts - now) / 1_000));
  for (const [unit, length] of [
    ["day", 86_400],
    ["hour", 3_600],
    ["minute", 60],
  ]) {
    if (-seconds >= length) return relative.format(Math.ceil(seconds / length), unit);
  }
  return seconds > -5 ? "just now" : relative.format(seconds, "second");
}

/** A duration in its two largest units. */
export function duration(ms) {
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 1) return `${Math.floor(ms / 1_000)} s`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** A size in bytes, rounded. */
export function bytes(count) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let unit = 0;
  while (count >= 1_000 && unit < units.length - 1) {
    count /= 1_000;
    unit += 1;
  }
  return `${count >= 10 || unit === 0 ? Math.round(count) : count.toFixed(1)} ${units[unit]}`;
}

/** What a session is called: `main`, `dm:CHANNEL:ID`, `group:CHANNEL:ID[:TOPIC]`. */
export function sessionTitle(key) {
  if (key === "main") return "Main";
  const [kind, , id, topic] = key.split(":");
  if (kind === "dm" && id) return id;
  if (kind === "group" && id) return topic ? `Group ${id}, topic ${topic}` : `Group ${id}`;
  return key;
}

/** Name of the channel that a session is bound to, or that was used last in one that is bound to none. */
export function sessionChannel(key, lastChannel) {
  const [kind, channel] = key.split(":");
  if ((kind === "dm" || kind === "group") && channel) return channelName(channel);
  return lastChannel ? channelName(lastChannel) : "";
}
