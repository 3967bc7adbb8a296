//! Commands to Pi: the only place that writes JSON for it. What a person wrote is only ever the
//! text inside a string.

use serde_json::{Value, json};

/// Begins a run. Pi takes a text that begins with `/` for a command of its own, a skill or a template,
/// so such a text gets a space in front, which keeps it literal.
pub(super) fn prompt(id: &str, message: &str, images: &[(String, String)]) -> Vec<u8> {
    let space = if message.starts_with('/') { " " } else { "" };
    let mut command = json!({ "id": id, "type": "prompt", "message": format!("{space}{message}") });
    if !images.is_empty() {
        let images = images
            .iter()
            .map(|(mime_type, data)| json!({ "type": "image", "mimeType": mime_type, "data": data }));
        command["images"] = Value::Array(images.collect());
    }
    line(&command)
}

/// Ends the run in progress; without one it does nothing and still succeeds.
pub(super) fn abort(id: &str) -> Vec<u8> {
    line(&json!({ "id": id, "type": "abort" }))
}

/// Asks what is going on. The answer comes after everything that was written before it.
pub(super) fn get_state(id: &str) -> Vec<u8> {
    line(&json!({ "id": id, "type": "get_state" }))
}

/// Declines to answer a question: nobody is there who could be asked.
pub(super) fn decline(question: &str) -> Vec<u8> {
    line(&json!({ "id": question, "type": "extension_ui_response", "cancelled": true }))
}

fn line(command: &Value) -> Vec<u8> {
    let mut line = command.to_string().into_bytes();
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message_of(text: &str) -> String {
        let line = prompt("p1", text, &[]);
        assert_eq!(line.iter().position(|byte| *byte == b'\n'), Some(line.len() - 1), "one line");
        let parsed: Value = serde_json::from_slice(&line).unwrap();
        parsed["message"].as_str().unwrap().to_owned()
    }

    #[test]
    fn text_stays_text() {
        for text in
            ["plain", "null", "@/etc/passwd", "--help", "two\nlines", "\"},{\"type\":\"bash\"", "!ls", ""]
        {
            assert_eq!(message_of(text), text);
        }
    }

    #[test]
    fn a_slash_never_comes_first() {
        for text in ["/new", "/skill:x", "/"] {
            assert_eq!(message_of(text), format!(" {text}"));
        }
    }

    #[test]
    fn images_have_pi_s_shape() {
        let line = prompt("p", "", &[("image/png".into(), "AAAA".into())]);
        let parsed: Value = serde_json::from_slice(&line).unwrap();
        assert_eq!(parsed["images"], json!([{ "type": "image", "mimeType": "image/png", "data": "AAAA" }]));
    }
}
