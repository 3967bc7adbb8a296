//! From a text frame to a validated request, on the client's own thread, in two steps: what it is and what it
//! would become is read without building anything; then its parameters are built. Between the two the caller
//! can wait for room. Knows nothing of who answers, and of methods only the names.

use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::limits::{JSON_DEPTH_MAX, JSON_VALUES_MAX};
use crate::protocol::error::{ErrorCode, WireError};
use crate::protocol::frame::Close;
use crate::protocol::members::{members_of, outline, outline_members};
use crate::protocol::method::{Method, Request};
use crate::protocol::parse::parse_params;
use crate::protocol::scan::Shape;
use crate::protocol::{SERVER_VERSION, schema};

/// A frame that is answered without a request being carried out.
pub(super) enum Rejected {
    /// It is a request, which is answered with an error.
    Refused { id: String, error: WireError },
    /// It is JSON, but no request: answered too, within the budget of invalid frames.
    Invalid { id: String, error: WireError },
    /// It is no JSON at all: the connection ends.
    Unreadable(Close),
}

/// `id` of the answer to a frame without an `id`.
const NO_ID: &str = "invalid";
/// Refusal of what JSON can write and the gateway cannot hold.
const UNREPRESENTABLE: &str = "a number beyond 1e308 or half a surrogate pair cannot be represented";
/// Members of the envelope; others are ignored.
const ENVELOPE: [&str; 4] = ["type", "id", "method", "params"];

/// A request whose parameters are still as they were written.
pub(super) struct RawRequest<'a> {
    id: String,
    method: Method,
    params: Option<&'a RawValue>,
}

/// Reads what a frame is, and builds nothing of its parameters.
pub(super) fn read(text: &str) -> Result<RawRequest<'_>, Rejected> {
    let shape = Shape::of(text.as_bytes());
    if shape.depth > JSON_DEPTH_MAX {
        return Err(Rejected::Unreadable(Close::new(1007, "the JSON nests deeper than 64 levels")));
    }
    let Ok(members) = members_of(text, &ENVELOPE) else { return Err(unreadable(text)) };
    let (id, params) = members.as_ref().map_or((None, None), |members| (members[1], members[3]));
    let id = id.and_then(|id| outline(id).ok()).and_then(|id| id.as_str().map(str::to_owned));
    let id = id.filter(|id| (1..=128).contains(&id.chars().count()));
    let answered = id.as_deref().unwrap_or(NO_ID);
    if shape.values > JSON_VALUES_MAX {
        let hint = format!("the frame holds more than {JSON_VALUES_MAX} JSON values; send less at once");
        return Err(invalid(answered, &hint));
    }
    // What is no object has no envelope.
    let envelope = members.map_or(Ok(Value::Null), |members| outline_members(&ENVELOPE, &members));
    let Ok(envelope) = envelope else { return Err(invalid(answered, UNREPRESENTABLE)) };
    if let Err(error) = schema::check_req(&envelope) {
        return Err(invalid(answered, &format!("not a valid request: {error}")));
    }
    let (Some(id), Some(name)) = (id, envelope["method"].as_str()) else {
        // The schema has made sure of both; a gap in it must not panic.
        return Err(invalid(NO_ID, "not a valid request"));
    };
    let Some(method) = Method::from_name(name) else {
        let message = format!(
            "unknown method; clawdis-gateway {SERVER_VERSION} answers the ones in hello-ok.features.methods"
        );
        return Err(Rejected::Refused { id, error: WireError::new(ErrorCode::UnknownMethod, message) });
    };
    Ok(RawRequest { id, method, params })
}

/// A frame whose members cannot be told apart.
fn unreadable(text: &str) -> Rejected {
    match serde_json::from_str::<IgnoredAny>(text) {
        // JSON by its grammar (RFC 8259), but for half of a surrogate pair in a name.
        Ok(_) => invalid(NO_ID, UNREPRESENTABLE),
        Err(error) => {
            let place = format!("the frame is not JSON (line {}, column {})", error.line(), error.column());
            Rejected::Unreadable(Close::new(1007, place))
        }
    }
}

fn invalid(id: &str, message: &str) -> Rejected {
    Rejected::Invalid { id: id.to_owned(), error: WireError::invalid(message) }
}

impl RawRequest<'_> {
    /// Bytes that the parameters take in memory, near enough: they are texts, and few other values.
    pub(super) fn built_bytes(&self) -> usize {
        // Of the others only single members are built, each of them small.
        let params = self.params.filter(|_| self.method.has_side_effects());
        params.map_or(0, |params| params.get().len())
    }

    /// Builds the parameters and checks them.
    pub(super) fn build(self) -> Result<(String, Request), Rejected> {
        match parse_params(self.method, self.params) {
            Ok(Ok(request)) => Ok((self.id, request)),
            Ok(Err(error)) => Err(Rejected::Refused { id: self.id, error }),
            Err(_) => Err(invalid(&self.id, UNREPRESENTABLE)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Rejected, read};
    use crate::limits::JSON_VALUES_MAX;
    use crate::protocol::method::{Call, Request};

    fn rejected(text: &str) -> (String, String) {
        let (Err(rejected) | Ok(Err(rejected))) = read(text).map(super::RawRequest::build) else {
            panic!("a good request: {text}")
        };
        match rejected {
            Rejected::Refused { id, error } => (format!("refused {id}"), error.message),
            Rejected::Invalid { id, error } => (format!("invalid {id}"), error.message),
            Rejected::Unreadable(close) => (close.code.to_string(), close.reason),
        }
    }

    fn with_values(count: usize) -> String {
        // The envelope: an object and four values.
        let items = vec!["0"; count - 5].join(",");
        format!(r#"{{"type":"req","id":"many","method":"health","params":[{items}]}}"#)
    }

    #[test]
    fn values_are_counted_before_anything_else_is_said() {
        let (who, what) = rejected(&with_values(JSON_VALUES_MAX));
        assert_eq!((who.as_str(), what.contains("/params")), ("invalid many", true), "{what}");
        let (who, what) = rejected(&with_values(JSON_VALUES_MAX + 1));
        assert_eq!(
            (who.as_str(), what.as_str()),
            ("invalid many", "the frame holds more than 20000 JSON values; send less at once")
        );
        let (who, _) = rejected(&format!("[{}]", vec!["[]"; JSON_VALUES_MAX].join(",")));
        assert_eq!(who, "invalid invalid");
        // What is no JSON stays that, however much of it there is.
        assert_eq!(rejected(&format!("[{}", "0,".repeat(JSON_VALUES_MAX))).0, "1007");
    }

    #[test]
    fn what_is_ignored_is_not_built() {
        for params in [r#"{"future":1e999}"#, r#"{"future":"\ud800","probe":false}"#, "{}"] {
            let text =
                format!(r#"{{"type":"req","id":"a","method":"health","x":"\ud800","params":{params}}}"#);
            let request = read(&text).unwrap_or_else(|_| panic!("{text}"));
            assert_eq!(request.built_bytes(), 0);
            assert!(
                matches!(request.build(), Ok((id, Request::State(Call::Health(params)))) if id == "a" && !params.probe)
            );
        }
        let text = r#"{"type":"req","id":"a","method":"set-paused","params":{"paused":true,"future":1e999}}"#;
        assert_eq!(rejected(text).0, "invalid a");
    }

    #[test]
    fn more_than_any_parameter_has_is_never_acted_on() {
        let many = (0..20).map(|n| format!(r#""paused":{}"#, n % 2 == 0)).collect::<Vec<_>>().join(",");
        let text = format!(r#"{{"type":"req","id":"a","method":"set-paused","params":{{{many}}}}}"#);
        assert!(
            matches!(read(&text).map(super::RawRequest::build), Ok(Ok(_))),
            "the last of one name counts"
        );
        let tags = vec![r#""tag""#; 17].join(",");
        let params = format!(r#"{{"text":"x","tags":[{tags}]}}"#);
        let text = format!(r#"{{"type":"req","id":"a","method":"system-event","params":{params}}}"#);
        let (who, what) = rejected(&text);
        assert_eq!((who.as_str(), what.contains("`/params/tags`")), ("refused a", true), "{what}");
    }

    #[test]
    fn the_last_of_two_members_counts() {
        let text =
            r#"{"type":"req","id":"x","id":"b","method":"status","method":"health","params":1,"params":{}}"#;
        assert!(
            matches!(read(text).map(super::RawRequest::build), Ok(Ok((id, Request::State(Call::Health(_))))) if id == "b")
        );
    }

    #[test]
    fn members_far_too_long_are_refused_like_those_a_little_too_long() {
        for length in [129, 200_000] {
            let id = "i".repeat(length);
            let text = format!(r#"{{"type":"req","id":"{id}","method":"health"}}"#);
            let (who, what) = rejected(&text);
            assert_eq!(who, "invalid invalid");
            assert!(what.contains("`/id`") && what.contains("128"), "{what}");
            let key = "k".repeat(length * 2);
            let text = format!(
                r#"{{"type":"req","id":"h","method":"session-history","params":{{"sessionKey":"{key}"}}}}"#
            );
            let (who, what) = rejected(&text);
            assert_eq!(who, "refused h");
            assert!(what.contains("`/params/sessionKey`") && what.contains("256"), "{what}");
        }
        let digits = "9".repeat(100_000);
        let text =
            format!(r#"{{"type":"req","id":"n","method":"sessions-list","params":{{"limit":{digits}}}}}"#);
        assert_eq!(rejected(&text).0, "invalid n");
    }
}
