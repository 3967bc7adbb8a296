//! Validators of everything that comes from outside, generated at build time from `schemas/`.
//!
//! Only inbound schemas are compiled in; what we send is validated by the tests. Knows no types
//! of the protocol: a value goes in, the first thing that is wrong with it comes out.

use std::fmt;

use jsonschema::ValidationError;
use jsonschema::error::ValidationErrorKind;
use serde_json::Value;

use crate::limits::{ERROR_MEMBER_BYTES_MAX, ERROR_TEXT_BYTES_MAX};
use crate::protocol::cut;

/// The validator that a schema becomes at build time.
macro_rules! validator {
    ($name:ident $path:literal) => {
        #[jsonschema::validator(
                    path = $path,
                    base_uri = "json-schema:///schemas/inbound.json",
                    resources = { "json-schema:///schemas/common.json" => { path = "schemas/common.json" } },
                    methods = { is_valid = true, validate = true, iter_errors = false },
                )]
        pub(super) struct $name;
    };
}
pub(super) use validator;

validator!(Hello "schemas/frame-hello.json");
validator!(Req "schemas/frame-req.json");
validator!(Config "schemas/config.schema.json");

/// What is wrong with a value, without the value. At most `ERROR_TEXT_BYTES_MAX` bytes as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SchemaError {
    /// JSON pointer to the place, empty for the whole value.
    pub path: String,
    /// What was expected at that place.
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
pub(crate) fn check_hello(value: &Value) -> Result<(), SchemaError> {
    check(value, "", Hello::is_valid, Hello::validate)
        .map_err(|error| wrong_kind(value, "hello").unwrap_or(error))
}

/// Checks the envelope of a request. Its parameters are only known to be an object then.
pub(crate) fn check_req(value: &Value) -> Result<(), SchemaError> {
    check(value, "", Req::is_valid, Req::validate).map_err(|error| wrong_kind(value, "req").unwrap_or(error))
}

/// Checks the types in a configuration. Unknown keys are no error of it.
pub(crate) fn check_config(value: &Value) -> Result<(), SchemaError> {
    check(value, "", Config::is_valid, Config::validate)
}

/// Checks a value that lies at `path`, in two steps: building an error costs allocations that a good value is spared.
pub(super) fn check<'v>(
    value: &'v Value,
    path: &str,
    is_valid: fn(&Value) -> bool,
    validate: fn(&'v Value) -> Result<(), ValidationError<'v>>,
) -> Result<(), SchemaError> {
    if is_valid(value) { Ok(()) } else { validate(value).map_err(|error| describe(path, &error)) }
}

/// A frame of another kind misses members too; that it is another kind says more.
fn wrong_kind(value: &Value, kind: &str) -> Option<SchemaError> {
    let frame = value.as_object()?;
    let matches = frame.get("type").and_then(Value::as_str) == Some(kind);
    (!matches).then(|| SchemaError::new("/type", &format!("\"{kind}\" was expected")))
}

/// The error in words; `prefix` is where the value lies.
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
