//! Reads a recorded conversation and says what it comes down to, without the library's help: the
//! texts are those of whole messages, where the library puts them together from pieces.

use std::fs;

use serde_json::Value;

use crate::runner::harness::test_file;

/// What the recording has of one run.
#[derive(Debug, Default)]
pub(super) struct Recorded {
    pub(super) prompt: String,
    /// MIME type and base64.
    pub(super) images: Vec<(String, String)>,
    /// What a client shows of the answer at the end.
    pub(super) shown: String,
    /// The last complete message that says something.
    pub(super) answer: Option<String>,
    /// What the last message failed with.
    pub(super) error: Option<String>,
    pub(super) thinking: String,
    /// Call and tool, as they began.
    pub(super) tools: Vec<(String, String)>,
    /// As they ended.
    pub(super) results: Vec<ToolResult>,
    /// Questions of an extension.
    pub(super) questions: Vec<String>,
}

/// How a tool call ended.
#[derive(Debug, PartialEq)]
pub(super) struct ToolResult {
    pub(super) call_id: String,
    pub(super) name: String,
    pub(super) result: String,
    pub(super) is_error: bool,
}

/// One run while it is read.
#[derive(Default)]
struct Reading {
    run: Recorded,
    texts: Vec<String>,
    /// Pieces of a message that is not complete.
    open: Option<String>,
    /// The last message is asked for again.
    repeats: bool,
}

/// The runs of a recording by prompt. `answered` says which prompts it has an answer to: the others
/// came while the run before was on.
pub(super) fn read(trace: &str, answered: impl Fn(usize) -> bool) -> Vec<Recorded> {
    let text = fs::read_to_string(test_file(&format!("fixtures/pi/{trace}.trace.jsonl"))).unwrap();
    let mut runs: Vec<Reading> = Vec::new();
    let mut current = None;
    for entry in text.lines().skip(1) {
        let entry: Value = serde_json::from_str(entry).unwrap();
        let line: Value = entry["s"].as_str().and_then(|s| serde_json::from_str(s).ok()).unwrap_or_default();
        if entry["d"] == "in" && line["type"] == "prompt" && line["streamingBehavior"].is_null() {
            if answered(runs.len()) {
                current = Some(runs.len());
            }
            let images = line["images"].as_array().into_iter().flatten();
            let run = Recorded {
                prompt: string(&line["message"]),
                images: images.map(|image| (string(&image["mimeType"]), string(&image["data"]))).collect(),
                ..Recorded::default()
            };
            runs.push(Reading { run, ..Reading::default() });
        } else if let (Some(current), true) = (current, entry["d"] == "out") {
            runs[current].line(&line);
        }
    }
    runs.into_iter().map(Reading::finish).collect()
}

impl Reading {
    fn line(&mut self, line: &Value) {
        let message = &line["message"];
        let of_model = message["role"] == "assistant";
        match line["type"].as_str().unwrap() {
            "agent_start" if std::mem::take(&mut self.repeats) => drop(self.texts.pop()),
            "auto_retry_start" => self.repeats = true,
            "compaction_end" => self.repeats |= line["willRetry"] == true,
            "message_start" if of_model => self.open = Some(String::new()),
            "message_update" if line["assistantMessageEvent"]["type"] == "text_delta" => {
                let piece = string(&line["assistantMessageEvent"]["delta"]);
                self.open.as_mut().unwrap().push_str(&piece);
            }
            "message_end" if of_model => self.message(message),
            "tool_execution_start" => {
                self.run.tools.push((string(&line["toolCallId"]), string(&line["toolName"])));
            }
            "tool_execution_end" => self.run.results.push(ToolResult {
                call_id: string(&line["toolCallId"]),
                name: string(&line["toolName"]),
                result: blocks(&line["result"], "text", "\n"),
                is_error: line["isError"] == true,
            }),
            "extension_ui_request" if line["title"].is_string() && line["method"] != "setTitle" => {
                self.run.questions.push(string(&line["id"]));
            }
            _ => {}
        }
    }

    fn message(&mut self, message: &Value) {
        self.open = None;
        let text = blocks(message, "text", "");
        self.run.thinking += &blocks(message, "thinking", "");
        self.run.error = message["errorMessage"].as_str().map(str::to_owned);
        if self.run.error.is_none() && !text.is_empty() {
            self.run.answer = Some(text.clone());
        }
        self.texts.push(text);
    }

    fn finish(mut self) -> Recorded {
        self.texts.extend(self.open);
        self.texts.retain(|text| !text.is_empty());
        self.run.shown = self.texts.join("\n\n");
        self.run
    }
}

/// The texts of a message's or a result's blocks of one kind; of a result's others, their kind.
fn blocks(of: &Value, kind: &str, between: &str) -> String {
    let blocks = of["content"].as_array().into_iter().flatten();
    let texts = blocks.filter_map(|block| match block["type"].as_str().unwrap() {
        own if own == kind => Some(string(&block[kind])),
        "image" => Some("[image]".into()),
        _ => None,
    });
    texts.collect::<Vec<_>>().join(between)
}

fn string(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
