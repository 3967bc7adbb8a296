//! The digest by which two requests under one idempotency key are told apart.
//!
//! Two requests are the same if their parameters are the same JSON value: the order of members
//! and the way a number or string was written do not count.

use std::io::{self, Write};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::protocol::call::Digest;

/// SHA-256 over `value` as JSON without blanks, members in the order of their names.
pub(super) fn digest(value: &Value) -> Digest {
    let mut sink = Sink(Sha256::new());
    // Neither hashing nor writing a `Value` can fail.
    let _ = write_canonical(value, &mut sink);
    sink.0.finalize().into()
}

struct Sink(Sha256);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sorts for itself: whether `serde_json` keeps members sorted is a feature that any crate in the
/// tree may switch off.
fn write_canonical(value: &Value, sink: &mut Sink) -> io::Result<()> {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            sink.write_all(b"{")?;
            for (i, (name, member)) in members.into_iter().enumerate() {
                if i > 0 {
                    sink.write_all(b",")?;
                }
                serde_json::to_writer(&mut *sink, name)?;
                sink.write_all(b":")?;
                write_canonical(member, sink)?;
            }
            sink.write_all(b"}")
        }
        Value::Array(items) => {
            sink.write_all(b"[")?;
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    sink.write_all(b",")?;
                }
                write_canonical(item, sink)?;
            }
            sink.write_all(b"]")
        }
        scalar => Ok(serde_json::to_writer(sink, scalar)?),
    }
}

#[cfg(test)]
mod tests {
    use super::digest;
    use serde_json::{Value, json};
    use sha2::{Digest as _, Sha256};

    #[test]
    fn is_the_hash_of_sorted_json() {
        let expected: [u8; 32] = Sha256::digest(br#"{"a":[1,{"x":null,"y":true}],"b":"\"\n"}"#).into();
        let value: Value =
            serde_json::from_str("{ \"b\": \"\\u0022\\u000a\",\n\"a\": [1, {\"y\": true, \"x\": null}] }")
                .unwrap();
        assert_eq!(digest(&value), expected);
    }

    #[test]
    fn tells_values_apart() {
        let values = [
            json!({}),
            json!({"a": 1}),
            json!({"a": "1"}),
            json!({"a": [1]}),
            json!({"a": [1, 1]}),
            json!({"a": [11]}),
        ];
        for (i, a) in values.iter().enumerate() {
            for b in &values[i + 1..] {
                assert_ne!(digest(a), digest(b), "{a} {b}");
            }
        }
    }
}
