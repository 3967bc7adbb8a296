//! The envelope of requests and answers: what goes around their parameters and payloads.
//!
//! Knows no connection: what is done with a frame before it is sent or after it came stands here.

use serde_json::{Value, json};

use crate::cli::failure::{Failure, Result};
use crate::limits::PAYLOAD_BYTES_MAX;

/// The payload of an answer, or its error.
pub(crate) fn outcome(mut answer: Value) -> Result<Value> {
    if answer["ok"] == true {
        return Ok(answer["payload"].take());
    }
    let error = &answer["error"];
    let text = |name: &str| error[name].as_str().unwrap_or("?");
    let when = error["retryAfterMs"].as_u64().map(|ms| format!("; try again in {} s", ms.div_ceil(1_000)));
    Err(Failure::Failed(format!("{} ({}){}", text("message"), text("code"), when.unwrap_or_default())))
}

/// Whether a request fits into a frame; asked before connecting, since it is the caller's mistake.
pub(crate) fn check_size(method: &str, params: &Value) -> Result<()> {
    // Ids are short: none has more digits than this one.
    let bytes = request("0000000000", method, params).to_string().len();
    if bytes <= PAYLOAD_BYTES_MAX { Ok(()) } else { Err(too_large()) }
}

/// The failure of a message that fits into no frame.
pub(crate) fn too_large() -> Failure {
    Failure::Usage(format!("the message is too long: at most {} KiB fit", PAYLOAD_BYTES_MAX / 1_024))
}

/// The failure of a gateway that does not answer in time.
pub(crate) fn no_answer() -> Failure {
    Failure::TimedOut("the gateway did not answer in time; `--timeout SECONDS` waits longer".to_owned())
}

pub(crate) fn request(id: &str, method: &str, params: &Value) -> Value {
    json!({ "type": "req", "id": id, "method": method, "params": params })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::outcome;

    #[test]
    fn an_error_says_its_code_and_when_to_retry() {
        let error = json!({ "code": "RATE_LIMITED", "message": "the queue is full", "retryAfterMs": 1_200 });
        let text = outcome(json!({ "ok": false, "error": error })).unwrap_err().to_string();
        assert_eq!(text, "the queue is full (RATE_LIMITED); try again in 2 s");
    }
}
