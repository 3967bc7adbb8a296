//! What a login looks like on a terminal: progress in lines, and the code, which is drawn anew in its
//! place when it changes and counts down its seconds.
//!
//! Pure: it makes the text that is to be written, and knows neither streams nor connections.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cli::qr::{self, QrStyle};
use crate::limits::ms;
use crate::text::one_line;

const SCAN_IT: &str = "Scan it: WhatsApp on the phone, Settings, Linked devices, Link a device.";
const TYPE_IT: &str = "Type it: WhatsApp on the phone, Linked devices, Link a device, with phone number.";

/// Shows one login, and knows what it has shown of it.
pub(crate) struct LinkingView {
    style: QrStyle,
    /// The code that is shown, and until when it holds.
    code: Option<(LinkCode, Instant)>,
    /// How many lines can be written over: the code and what stands around it.
    block: usize,
    /// The last of these lines, which counts the seconds.
    status: String,
}

#[derive(Debug, Clone)]
enum LinkCode {
    Scan(String),
    Type(String),
}

/// Columns and rows of the terminal; `None` if it is none.
pub(crate) type Size = Option<(usize, usize)>;

impl LinkingView {
    /// A view of a login that has not begun.
    pub(crate) fn new(style: QrStyle) -> Self {
        Self { style, code: None, block: 0, status: String::new() }
    }

    /// The text for a `channel` event.
    pub(crate) fn event(&mut self, payload: &Value, size: Size, now: Instant) -> String {
        let member = |name: &str| payload[name].as_str().map(one_line);
        let code = match (member("qr"), member("code")) {
            (Some(qr), _) => LinkCode::Scan(qr),
            (None, Some(code)) => LinkCode::Type(code),
            (None, None) => {
                (self.code, self.block) = (None, 0);
                let reason = member("reason").map_or_else(String::new, |reason| format!(": {reason}"));
                return format!("{}{reason}\n", member("state").unwrap_or_default());
            }
        };
        // Longer than a day means forever, and a bound keeps the moment representable.
        let ttl = ms(payload["ttlMs"].as_u64().unwrap_or_default()).min(Duration::from_secs(86_400));
        self.code = Some((code.clone(), now + ttl));
        self.show(&code, size, now)
    }

    /// When [`LinkingView::tick`] has something to say.
    pub(crate) fn next_tick(&self, now: Instant) -> Option<Instant> {
        let (_, ends) = self.code.as_ref().filter(|_| self.block > 0)?;
        let left = ends.checked_duration_since(now).filter(|left| !left.is_zero())?;
        // Seconds are rounded up, so the next number is due when they are whole.
        let rest = Duration::from_nanos(left.subsec_nanos().into());
        Some(now + if rest.is_zero() { Duration::from_secs(1) } else { rest })
    }

    /// The text that brings the seconds up to date.
    pub(crate) fn tick(&mut self, size: Size, now: Instant) -> String {
        let status = fitted(&self.status_at(now), size);
        if self.block == 0 || status == self.status {
            return String::new();
        }
        self.status.clone_from(&status);
        format!("\x1b[1A\r\x1b[2K{status}\n")
    }

    fn show(&mut self, code: &LinkCode, size: Size, now: Instant) -> String {
        let (columns, rows) = size.unwrap_or((usize::MAX, usize::MAX));
        let mut lines = match code {
            LinkCode::Scan(text) => match qr::draw(text, self.style, columns, rows.saturating_sub(3)) {
                Ok(mut lines) => {
                    lines.push(fitted(SCAN_IT, size));
                    lines
                }
                Err(why) => {
                    // These may wrap, so they are not written over.
                    self.block = 0;
                    return format!(
                        "{why}.\nMake the terminal wider and wait for the next code, use --phone +NUMBER, or draw this \
                         text as a QR code:\n{text}\n{}\n",
                        self.status_at(now)
                    );
                }
            },
            LinkCode::Type(code) => vec![fitted(TYPE_IT, size), format!("    {}", grouped(code))],
        };
        self.status = fitted(&self.status_at(now), size);
        lines.push(self.status.clone());
        // The cursor stands below the block, and cannot go back further than the screen.
        let fits = self.style.escapes && size.is_some_and(|(_, rows)| lines.len() < rows);
        let back = if self.block > 0 { format!("\x1b[{}A\r\x1b[J", self.block) } else { String::new() };
        self.block = if fits { lines.len() } else { 0 };
        let is_low = self.style.escapes && size.is_some() && !fits;
        let hint = if is_low {
            "The terminal is too low for it: make it taller, or use --phone +NUMBER.\n"
        } else {
            ""
        };
        format!("{back}{}\n{hint}", lines.join("\n"))
    }

    fn status_at(&self, now: Instant) -> String {
        let Some((code, ends)) = &self.code else { return String::new() };
        let left = ends.saturating_duration_since(now);
        let seconds = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        match (code, seconds) {
            (_, 0) => "It has run out; waiting for what comes next.".to_owned(),
            (LinkCode::Scan(_), _) => {
                format!("It holds for {seconds} s; a new one may follow. Ctrl-C leaves.")
            }
            (LinkCode::Type(_), _) => format!("It holds for {seconds} s. Ctrl-C leaves."),
        }
    }
}

/// Cuts a text to one line of the terminal, so that lines can be counted.
fn fitted(text: &str, size: Size) -> String {
    text.chars().take(size.map_or(usize::MAX, |(columns, _)| columns.saturating_sub(1))).collect()
}

/// A code as phones show it: two halves of four.
fn grouped(code: &str) -> String {
    match (code.len() == 8 && code.is_ascii()).then(|| code.split_at(4)) {
        Some((left, right)) => format!("{left}-{right}"),
        None => code.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::{Value, json};

    use super::{LinkingView, Size};
    use crate::cli::qr::QrStyle;

    const TERMINAL: Size = Some((80, 50));

    fn linking(escapes: bool) -> LinkingView {
        LinkingView::new(QrStyle { blocks: true, escapes })
    }

    fn qr(text: &str) -> Value {
        json!({ "channel": "whatsapp", "state": "linking", "qr": text, "ttlMs": 20_000 })
    }

    /// The screen after these texts, as a terminal shows it; only what we use.
    fn screen(texts: &[String]) -> Vec<String> {
        let (mut lines, mut row) = (vec![String::new()], 0_usize);
        let text = texts.concat();
        let mut rest = text.as_str();
        while let Some(next) = rest.chars().next() {
            if let Some(tail) = rest.strip_prefix("\x1b[") {
                let end = tail.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                let number = tail[..end].parse().unwrap_or(0);
                match &tail[end..=end] {
                    "A" => row = row.checked_sub(number).expect("above the top"),
                    "J" => lines.truncate(row),
                    "K" => lines[row].clear(),
                    "m" => {}
                    other => panic!("unexpected `{other}`"),
                }
                lines.resize(lines.len().max(row + 1), String::new());
                rest = &tail[end + 1..];
                continue;
            }
            match next {
                '\n' => {
                    row += 1;
                    lines.resize(lines.len().max(row + 1), String::new());
                }
                '\r' => {}
                c => lines[row].push(c),
            }
            rest = &rest[next.len_utf8()..];
        }
        lines
    }

    #[test]
    fn a_new_code_takes_the_place_of_the_old_one_and_seconds_count_down() {
        let (now, mut view) = (Instant::now(), linking(true));
        let progress = json!({ "state": "installing", "reason": "18 packages\u{1b}[2J" });
        let mut texts = vec![view.event(&progress, TERMINAL, now)];
        assert_eq!(texts[0], "installing: 18 packages[2J\n");
        assert_eq!(view.next_tick(now), None);
        texts.push(view.event(&qr("2@first"), TERMINAL, now));
        let first = screen(&texts);
        assert!(first.iter().any(|line| line.starts_with("It holds for 20 s")), "{first:?}");
        let later = now + Duration::from_millis(3_500);
        texts.push(view.tick(TERMINAL, later));
        assert_eq!(view.tick(TERMINAL, later), "", "nothing has changed");
        let second = screen(&texts);
        assert_eq!((second.len(), &second[..second.len() - 2]), (first.len(), &first[..first.len() - 2]));
        assert!(second[second.len() - 2].starts_with("It holds for 17 s"), "{second:?}");
        texts.push(view.event(&qr("2@other"), TERMINAL, now + Duration::from_secs(10)));
        let third = screen(&texts);
        assert_eq!(third.len(), first.len(), "in the same place");
        assert!(third[1..10] != first[1..10] && third[0] == first[0], "another code below the progress");
        texts.push(view.event(&json!({ "state": "linking" }), TERMINAL, now));
        assert_eq!(
            screen(&texts)[..third.len() - 1],
            third[..third.len() - 1],
            "what comes next stands below"
        );
        assert_eq!(view.tick(TERMINAL, now), "");
    }

    #[test]
    fn the_seconds_are_due_when_they_change_and_end() {
        let (now, mut view) = (Instant::now(), linking(true));
        view.event(&qr("2@a"), TERMINAL, now);
        let mut at = now;
        let mut seen = Vec::new();
        while let Some(due) = view.next_tick(at) {
            assert!(due > at);
            at = due;
            let text = view.tick(TERMINAL, at);
            seen.push(text.split_whitespace().find_map(|word| word.parse::<u64>().ok()).unwrap_or(0));
        }
        assert_eq!(seen, (0..20).rev().collect::<Vec<_>>());
        assert!(view.status.contains("run out"), "{}", view.status);
    }

    #[test]
    fn where_nothing_can_be_taken_back_codes_follow_each_other() {
        let now = Instant::now();
        let mut piped = linking(false);
        let texts = [qr("2@a"), qr("2@b")].map(|event| piped.event(&event, None, now));
        assert!(
            texts.iter().all(|text| !text.contains('\x1b') && text.contains("It holds for 20 s")),
            "{texts:?}"
        );
        assert_eq!(piped.next_tick(now), None);
        let mut low = linking(true);
        let texts = [qr("2@a"), qr("2@b")].map(|event| low.event(&event, Some((80, 10)), now));
        assert!(
            texts.iter().all(|text| !text.contains("A\r") && text.contains("make it taller")),
            "{texts:?}"
        );
        assert_eq!(low.next_tick(now), None);
    }

    #[test]
    fn a_narrow_terminal_gets_the_text_and_the_other_way() {
        let text = linking(true).event(&qr("2@secret,text"), Some((20, 50)), Instant::now());
        assert!(
            text.contains("has 20 columns") && text.contains("--phone") && text.contains("\n2@secret,text\n")
        );
    }

    #[test]
    fn a_code_to_type_is_shown_in_halves() {
        let event = json!({ "state": "linking", "code": "ABCD1234", "ttlMs": 60_000 });
        let text = linking(true).event(&event, TERMINAL, Instant::now());
        assert!(text.contains("    ABCD-1234\nIt holds for 60 s") && text.contains("Type it"), "{text}");
    }
}
