//! Validators of everything that comes from outside, generated at build time from `schemas/`.
//!
//! Only inbound schemas are compiled in; what we send is validated by the tests. Knows no types
//! of the protocol: a value goes in, the first thing that is wrong with it comes out.

use std::fmt;

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

use crate::limits::{ERROR_MEMBER_BYTES_MAX, ERROR_TEXT_BYTES_MAX};
use crate::protocol::call::Method;
use crate::protocol::cut;

/// One validator per inbound schema, and the choice among those for parameters.
macro_rules! validators {
    (
        frames { $($name:ident = $path:literal;)* }
        params { $($method:ident = $params_path:literal;)* }
    ) => {
        $(validators!(@ $name $path);)*

        mod params {
            $(validators!(@ $method $params_path);)*
        }

        fn params_error(method: Method, value: &Value) -> Option<ValidationError<'_>> {
            match method {
                $(Method::$method => first_error(value, params::$method::is_valid, params::$method::validate),)*
            }
        }
    };
    (@ $name:ident $path:literal) => {
        #[jsonschema::validator(
            path = $path,
            base_uri = "json-schema:///schemas/inbound.json",
            resources = { "json-schema:///schemas/common.json" => { path = "schemas/common.json" } },
            methods = { is_valid = true, validate = true, iter_errors = false },
        )]
        pub(super) struct $name;
    };
}

validators! {
    frames {
        Hello = "schemas/frame-hello.json";
        Req = "schemas/frame-req.json";
        Config = "schemas/config.schema.json";
    }
    params {
        Health = "schemas/params-health.json";
        Status = "schemas/params-status.json";
        SystemPresence = "schemas/params-system-presence.json";
        SystemEvent = "schemas/params-system-event.json";
        Send = "schemas/params-send.json";
        Agent = "schemas/params-agent.json";
        AgentCancel = "schemas/params-agent-cancel.json";
        SessionsList = "schemas/params-sessions-list.json";
        SessionHistory = "schemas/params-session-history.json";
        SessionReset = "schemas/params-session-reset.json";
        SessionForget = "schemas/params-session-forget.json";
        SetHeartbeats = "schemas/params-set-heartbeats.json";
        SetChannel = "schemas/params-set-channel.json";
        SetPaused = "schemas/params-set-paused.json";
        ChannelAllow = "schemas/params-channel-allow.json";
        ChannelLogin = "schemas/params-channel-login.json";
        ChannelLogout = "schemas/params-channel-logout.json";
    }
}

/// What is wrong with a value, without the value. At most `ERROR_TEXT_BYTES_MAX` bytes as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaError {
    /// JSON pointer to the place, empty for the whole value.
    pub path: String,
    /// What was expected there.
    pub expected: String,
}

impl SchemaError {
    /// An error at `path`; both are cut to what fits into an error's text.
    pub fn new(path: &str, expected: &str) -> Self {
        let path = cut(path, ERROR_TEXT_BYTES_MAX / 2);
        // Quotes, colon and blanks around the two.
        let expected = cut(expected, ERROR_TEXT_BYTES_MAX / 2 - 8);
        Self { path: path.to_owned(), expected: expected.to_owned() }
    }
}

impl fmt::Display for SchemaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "/" } else { &self.path };
        write!(f, "`{path}`: {}", self.expected)
    }
}

impl std::error::Error for SchemaError {}

/// Checks the first frame of a connection.
pub fn check_hello(value: &Value) -> Result<(), SchemaError> {
    match first_error(value, Hello::is_valid, Hello::validate) {
        None => Ok(()),
        Some(error) => Err(wrong_kind(value, "hello").unwrap_or_else(|| describe("", &error))),
    }
}

/// Checks the envelope of a request. Its parameters are only known to be an object then.
pub fn check_req(value: &Value) -> Result<(), SchemaError> {
    match first_error(value, Req::is_valid, Req::validate) {
        None => Ok(()),
        Some(error) => Err(wrong_kind(value, "req").unwrap_or_else(|| describe("", &error))),
    }
}

/// Checks the parameters of a request; paths begin with `/params`.
pub fn check_params(method: Method, value: &Value) -> Result<(), SchemaError> {
    params_error(method, value).map_or(Ok(()), |error| Err(describe("/params", &error)))
}

/// Checks the types in a configuration. Unknown keys are no error of it.
pub fn check_config(value: &Value) -> Result<(), SchemaError> {
    first_error(value, Config::is_valid, Config::validate).map_or(Ok(()), |error| Err(describe("", &error)))
}

/// The two-step validation: building an error costs allocations that a good value is spared.
fn first_error<'v>(
    value: &'v Value,
    is_valid: fn(&Value) -> bool,
    validate: fn(&'v Value) -> Result<(), ValidationError<'v>>,
) -> Option<ValidationError<'v>> {
    if is_valid(value) { None } else { validate(value).err() }
}

/// A frame of another kind misses members too; that it is another kind says more.
fn wrong_kind(value: &Value, kind: &str) -> Option<SchemaError> {
    let frame = value.as_object()?;
    let matches = frame.get("type").and_then(Value::as_str) == Some(kind);
    (!matches).then(|| SchemaError::new("/type", &format!("\"{kind}\" was expected")))
}

fn describe(prefix: &str, error: &ValidationError<'_>) -> SchemaError {
    let path = format!("{prefix}{}", error.instance_path());
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            let member = property.as_str().unwrap_or_default();
            SchemaError::new(&format!("{path}/{member}"), "required member is missing")
        }
        ValidationErrorKind::AdditionalProperties { unexpected } => {
            let member = unexpected.first().map_or("", |name| cut(name, ERROR_MEMBER_BYTES_MAX));
            SchemaError::new(&format!("{path}/{member}"), "unknown member")
        }
        ValidationErrorKind::Enum { options } => {
            SchemaError::new(&path, &format!("value is none of {options}"))
        }
        _ => SchemaError::new(&path, &error.masked().to_string()),
    }
}

#[cfg(test)]
mod tests;
