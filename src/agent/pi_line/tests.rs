//! Lines as Pi writes them, odd ones, and what is kept of long ones.

use super::*;
use crate::limits::DELTA_BYTES_MAX;

fn line(text: &str) -> PiLine {
    let mut lines = lines(text.as_bytes()).unwrap();
    assert_eq!(lines.len(), 1, "{text}");
    lines.remove(0)
}

fn lines(line: &[u8]) -> Result<Vec<PiLine>, String> {
    let mut lines = Vec::new();
    parse(line, &mut |line| {
        lines.push(line);
        true
    })?;
    Ok(lines)
}

#[test]
fn a_delta_is_read_past_two_snapshots() {
    let update = r#"{"type":"message_update","assistantMessageEvent":{"type":"text_delta","contentIndex":2,
        "delta":"a\"\u2028b","partial":{"content":[{"type":"text","text":"x"}]}},"message":{"role":"assistant"}}"#;
    assert_eq!(line(update), PiLine::Text { block: 2, delta: "a\"\u{2028}b".into() });
}

#[test]
fn half_a_surrogate_pair_does_not_fail_the_line() {
    let update = r#"{"type":"message_update","assistantMessageEvent":{"type":"text_delta","contentIndex":0,"delta":"a\ud83d"}}"#;
    let PiLine::Text { delta, .. } = line(update) else { panic!("no text") };
    assert!(delta.starts_with('a') && delta.contains('\u{fffd}'), "{delta}");
}

#[test]
fn responses_keep_id_refusal_and_state() {
    let refused = line(r#"{"id":"p1","type":"response","command":"prompt","success":false,"error":"busy"}"#);
    let PiLine::Response(refused) = refused else { panic!("no response") };
    assert_eq!((refused.id.as_deref(), refused.refusal.as_deref()), (Some("p1"), Some("busy")));
    let state = line(
        r#"{"id":7,"type":"response","command":"get_state","success":true,"data":{"isStreaming":false,"isCompacting":true}}"#,
    );
    let PiLine::Response(state) = state else { panic!("no response") };
    assert_eq!((state.id, state.refusal, state.is_busy), (None, None, true));
}

#[test]
fn tool_results_become_bounded_text() {
    let long = "y".repeat(TOOL_BYTES_MAX + 1);
    let end = line(&format!(
        r#"{{"type":"tool_execution_end","toolCallId":"c","toolName":"bash","isError":true,"result":
        {{"content":[{{"type":"text","text":"one"}},{{"type":"image","data":"AAAA"}},{{"type":"text","text":"{long}"}}]}}}}"#
    ));
    let PiLine::Tool(tool) = end else { panic!("no tool") };
    assert_eq!((tool.text.len(), tool.truncated), (TOOL_BYTES_MAX, true));
    assert!(tool.text.starts_with("one\n[image]\nyyy"));
    assert_eq!(tool.phase, ToolPhase::End { is_error: true });
}

#[test]
fn a_tool_has_a_name_and_its_call_an_id_for_whoever_draws_it() {
    for name in [r#""toolName":"""#, r#""toolName":7"#, r#""x":1"#] {
        let PiLine::Tool(tool) =
            line(&format!(r#"{{"type":"tool_execution_start","toolCallId":"c",{name}}}"#))
        else {
            panic!("no tool")
        };
        assert_eq!((tool.call_id.as_str(), tool.name.as_str()), ("c", "tool"), "{name}");
    }
    for id in [r#""toolCallId":"""#, r#""toolCallId":null"#, r#""x":1"#] {
        let odd = format!(r#"{{"type":"tool_execution_end","toolName":"bash",{id}}}"#);
        assert_eq!(line(&odd), PiLine::Other, "{id}");
    }
}

#[test]
fn what_is_no_object_with_a_type_is_an_error() {
    for bad in [
        "null",
        "",
        "[]",
        "{",
        "{}",
        "hello",
        r#"{"type":1}"#,
        r#"{"type":"agent_end""#,
        "{\"type\":\"\u{0}\"}",
    ] {
        let error = lines(bad.as_bytes()).unwrap_err();
        assert!(error.len() < 200 && !error.contains('\u{0}'), "{error}");
    }
    assert!(lines(b"{\"type\":\"x\",\"message\":\"\xff\"}").is_err());
}

#[test]
fn unknown_types_and_odd_members_are_a_sign_of_life() {
    for odd in [
        r#"{"type":"brand_new","id":{},"message":[1]}"#,
        r#"{"type":"message_end","message":"text"}"#,
        r#"{"type":"message_start","message":{"role":"user"}}"#,
        r#"{"type":"extension_ui_request","id":"q","method":"notify","message":"hi"}"#,
    ] {
        assert_eq!(line(odd), PiLine::Other, "{odd}");
    }
}

#[test]
fn a_long_text_comes_in_pieces_and_others_are_cut_where_they_stand() {
    let long = "añ\\n🦀\\ud83e\\udd80".repeat(20_000);
    let said: String = serde_json::from_str(&format!("\"{long}\"")).unwrap();
    for (kind, member) in [("text_delta", "delta"), ("text_end", "content"), ("thinking_delta", "delta")] {
        let line = format!(
            r#"{{"type":"message_update","assistantMessageEvent":{{"type":"{kind}","contentIndex":1,"{member}":"{long}"}}}}"#
        );
        let mut all = String::new();
        let mut lines = lines(line.as_bytes()).unwrap();
        let last = lines.pop().unwrap();
        assert!(lines.len() > 5);
        for line in lines.into_iter().chain([last]) {
            let (PiLine::Text { delta: piece, .. }
            | PiLine::TextEnd { content: piece, .. }
            | PiLine::Thinking(piece)) = line
            else {
                panic!("{line:?}")
            };
            assert!(piece.len() <= DELTA_BYTES_MAX);
            all.push_str(&piece);
        }
        assert_eq!(all, said, "{kind}");
    }
    let PiLine::RetryStart(reason) =
        line(&format!(r#"{{"type":"auto_retry_start","errorMessage":"{long}"}}"#))
    else {
        panic!("no retry")
    };
    assert!(said.starts_with(&reason) && reason.len() <= 2 * ERROR_TEXT_BYTES_MAX);
}

#[test]
fn a_taker_that_is_gone_gets_no_further_piece() {
    let line = format!(
        r#"{{"type":"message_update","assistantMessageEvent":{{"type":"text_delta","delta":"{}"}}}}"#,
        "x".repeat(10 * DELTA_BYTES_MAX)
    );
    let mut taken = 0;
    let goes_on = parse(line.as_bytes(), &mut |_| {
        taken += 1;
        taken < 2
    });
    assert_eq!((goes_on, taken), (Ok(false), 2));
}

#[test]
fn results_of_many_blocks_and_names_of_a_megabyte_are_not_kept() {
    let blocks = vec![r#"{"type":"text","text":"b"}"#; 20_000].join(",");
    let end = line(&format!(
        r#"{{"type":"tool_execution_end","toolCallId":"c","result":{{"content":[{blocks}]}}}}"#
    ));
    let PiLine::Tool(tool) = end else { panic!("no tool") };
    assert_eq!((tool.text.len(), tool.truncated), (TOOL_BYTES_MAX, true));
    let name = format!(r#"{{"type":"agent_start","\u0041{}":1}}"#, "n".repeat(1 << 20));
    assert!(lines(name.as_bytes()).unwrap_err().contains("not its protocol"));
}

/// Every line that Pi was recorded to write.
fn recorded() -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/pi");
    let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let traces = files.filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    let texts: Vec<_> = traces.map(|path| std::fs::read_to_string(path).unwrap()).collect();
    let entries = texts.iter().flat_map(|text| text.lines());
    entries
        .map(|entry| serde_json::from_str::<serde_json::Value>(entry).unwrap())
        .filter(|entry| entry["d"] == "out")
        .map(|entry| entry["s"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn every_recorded_line_is_read_and_pieces_make_up_their_blocks() {
    let (mut lines, mut blocks, mut tools) = (0, 0, 0);
    let mut text = std::collections::BTreeMap::<u64, String>::new();
    for recorded in recorded() {
        lines += 1;
        match line(&recorded) {
            PiLine::MessageStart => text.clear(),
            PiLine::Text { block, delta } => text.entry(block).or_default().push_str(&delta),
            PiLine::TextEnd { block, content, more: false } => {
                blocks += 1;
                assert_eq!(text.remove(&block).unwrap_or_default(), content, "{recorded}");
            }
            PiLine::Tool(tool) => {
                tools += 1;
                assert!(!tool.call_id.is_empty() && !tool.name.is_empty(), "{recorded}");
            }
            _ => {}
        }
    }
    assert!(lines > 1_000 && blocks > 50 && tools > 50, "{lines} lines, {blocks} blocks, {tools} tools");
}

#[test]
fn characters_and_escapes_stay_whole() {
    for (written, bytes) in [
        ("a", 1),
        ("ñ", 2),
        ("€", 3),
        ("🦀", 4),
        ("\\n", 2),
        ("\\\"", 2),
        ("\\u0041", 6),
        ("\\ud83d\\udc00", 12),
        ("\\udc00\\u0041", 6),
        ("\\ud83d!", 6),
    ] {
        assert_eq!(one(format!("{written}tail").as_bytes()), bytes, "{written}");
    }
    let all = "a\\\\ñ\\u00e9\\ud83d\\ude00🦀".repeat(50);
    for bytes_max in 1..60 {
        let (mut rest, mut said) = (all.as_str(), String::new());
        while !rest.is_empty() {
            let end = end_of_piece(rest, bytes_max);
            assert!(end > 0 && (end <= bytes_max || end <= 12));
            said.push_str(&text(&rest[..end]).unwrap());
            rest = &rest[end..];
        }
        assert_eq!(Some(said), text(&all), "{bytes_max}");
    }
}

#[test]
fn excerpts_are_cut_and_only_strings_have_any() {
    let raw = |json: &str| RawValue::from_string(json.to_owned()).unwrap();
    assert_eq!(excerpt(&raw(r#""añb""#), 2).as_deref(), Some("a"));
    assert_eq!(excerpt(&raw(r#""\u00f1b""#), 2).as_deref(), Some("ñ"));
    assert_eq!(excerpt(&raw("\"\""), 2).as_deref(), Some(""));
    for json in ["1", "[34]", "{}", "null"] {
        assert_eq!(excerpt(&raw(json), 9), None, "{json}");
    }
}
