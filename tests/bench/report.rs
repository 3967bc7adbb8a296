//! Rows with their targets and verdicts, as a table for people and as JSON for programs.

use std::fmt;

use serde_json::{Value, json};

/// What a row is held to.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target {
    /// The gateway's value, in the row's unit.
    AtMost(f64),
    /// The gateway's value over the floor's.
    RatioAtMost(f64),
    /// The same, where more is better.
    RatioAtLeast(f64),
}

impl Target {
    /// How far off the row is: 0 or less is met, 0.1 is 10 % beyond. `None` if not measured.
    fn excess(self, row: &Row) -> Option<f64> {
        match self {
            Target::AtMost(0.0) => Some(row.gateway?),
            Target::AtMost(limit) => Some(row.gateway? / limit - 1.0),
            Target::RatioAtMost(limit) => Some(row.ratio()? / limit - 1.0),
            Target::RatioAtLeast(limit) => Some(1.0 - row.ratio()? / limit),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::AtMost(limit) => write!(f, "<= {}", number(*limit)),
            Target::RatioAtMost(limit) => write!(f, "<= {limit}x"),
            Target::RatioAtLeast(limit) => write!(f, ">= {limit}x"),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Row {
    name: String,
    unit: &'static str,
    gateway: Option<f64>,
    floor: Option<f64>,
    targets: Vec<Target>,
    note: String,
}

impl Row {
    /// A row in that unit with nothing measured yet.
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, targets: &[Target]) -> Self {
        let targets = targets.to_vec();
        Self { name: name.into(), unit, gateway: None, floor: None, targets, note: String::new() }
    }

    /// The gateway's value.
    pub(crate) fn gateway(mut self, value: f64) -> Self {
        self.gateway = Some(value);
        self
    }

    /// What it is compared with: the floor, unless the note says otherwise.
    pub(crate) fn floor(mut self, value: f64) -> Self {
        self.floor = Some(value);
        self
    }

    /// What a reader has to know, or why nothing was measured.
    pub(crate) fn note(mut self, text: impl Into<String>) -> Self {
        self.note = text.into();
        self
    }

    fn ratio(&self) -> Option<f64> {
        self.floor.filter(|floor| *floor > 0.0).and_then(|floor| Some(self.gateway? / floor))
    }

    fn verdict(&self) -> String {
        let mut worst: f64 = f64::MIN;
        for target in &self.targets {
            match target.excess(self) {
                Some(excess) => worst = worst.max(excess),
                None => return "not measured".to_owned(),
            }
        }
        match worst {
            f64::MIN => String::new(), // held to nothing
            met if met <= 0.0 => "ok".to_owned(),
            _ if self.targets.iter().any(|target| matches!(target, Target::AtMost(0.0))) => {
                format!("misses by {}", number(worst))
            }
            _ => format!("misses by {:.0} %", (worst * 100.0).max(1.0)),
        }
    }

    fn targets(&self) -> String {
        self.targets.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    }

    fn to_json(&self) -> Value {
        json!({
            "name": self.name, "unit": self.unit, "gateway": self.gateway, "floor": self.floor,
            "ratio": self.ratio(), "targets": self.targets(), "verdict": self.verdict(), "note": self.note,
        })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_dash = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), number);
        write!(
            f,
            "{:<52} {:>9} {:>9} {:<8} {:>6}  {:<18} {}",
            self.name,
            or_dash(self.gateway),
            or_dash(self.floor),
            self.unit,
            self.ratio().map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2}x")),
            self.targets(),
            self.verdict(),
        )?;
        if self.note.is_empty() { Ok(()) } else { write!(f, "  ({})", self.note) }
    }
}

/// The line above the rows.
pub(crate) fn heading() -> String {
    format!(
        "{:<52} {:>9} {:>9} {:<8} {:>6}  {:<18} {}",
        "", "gateway", "floor", "", "ratio", "target", "verdict"
    )
}

/// Everything, for programs.
pub(crate) fn to_json(rows: &[Row], full: bool) -> Value {
    let machine = std::fs::read_to_string("/proc/version").unwrap_or_default();
    json!({
        "full": full,
        "cpus": std::thread::available_parallelism().map_or(0, std::num::NonZero::get),
        "kernel": machine.trim_end(),
        "rows": rows.iter().map(Row::to_json).collect::<Vec<_>>(),
    })
}

/// How many rows met, missed or could not be held to their targets.
pub(crate) fn tally(rows: &[Row]) -> String {
    let count = |wanted: &str| rows.iter().filter(|row| row.verdict().starts_with(wanted)).count();
    format!("{} ok, {} missed, {} not measured", count("ok"), count("misses"), count("not measured"))
}

/// Three significant digits or so.
fn number(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        small if small < 0.1 => format!("{value:.3}"),
        small if small < 10.0 => format!("{value:.2}"),
        medium if medium < 100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// The middle of `values`, which must not be empty.
pub(crate) fn median(values: &[f64]) -> f64 {
    percentile(values, 0.5)
}

/// The value below which that part of `values` lies, which must not be empty.
pub(crate) fn percentile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 <= part <= 1")]
    let index = ((sorted.len() - 1) as f64 * part).round() as usize;
    sorted[index]
}
