//! What a JSON text would become, told from its bytes before anything of it is built.
//!
//! Looks at brackets, commas, colons and quotes only: it needs no memory and no stack, and knows no member. On a
//! text that is no JSON the counts mean nothing but that the text is not larger than they say.

/// The shape of a JSON text.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// The deepest nesting of objects and arrays.
    pub(crate) depth: usize,
    /// Values, those that hold others among them (RFC 8259; names of members are none).
    pub(crate) values: usize,
    /// The longest name of a member, in bytes as written.
    pub(crate) name_bytes: usize,
}

impl Shape {
    /// The shape of a text, which is scanned once.
    pub(crate) fn of(json: &[u8]) -> Self {
        let mut shape = Self { values: 1, ..Self::default() };
        let mut depth = 0_usize;
        // The last bracket opened and nothing has come in it.
        let mut is_empty = false;
        let mut string_bytes = 0;
        let mut at = 0;
        while let Some(byte) = json.get(at) {
            at += 1;
            match byte {
                b'"' => {
                    let start = at;
                    at = end_of_string(json, at);
                    string_bytes = at - start;
                    is_empty = false;
                }
                b'[' | b'{' => {
                    depth += 1;
                    shape.depth = shape.depth.max(depth);
                    shape.values += 1;
                    is_empty = true;
                }
                b']' | b'}' => {
                    depth = depth.saturating_sub(1);
                    shape.values -= usize::from(is_empty);
                    is_empty = false;
                }
                b',' => shape.values += 1,
                b':' => {
                    shape.name_bytes = shape.name_bytes.max(string_bytes);
                }
                b' ' | b'\n' | b'\r' | b'\t' => {}
                _ => is_empty = false,
            }
        }
        shape
    }
}

/// Behind the closing quote of the string whose text begins at `at`.
fn end_of_string(json: &[u8], mut at: usize) -> usize {
    while let Some(byte) = json.get(at) {
        at += match byte {
            b'"' => return at + 1,
            b'\\' => 2,
            _ => 1,
        };
    }
    json.len()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::Shape;

    fn shape(json: &str) -> Shape {
        Shape::of(json.as_bytes())
    }

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        assert_eq!(shape(r#"{"a":[1,{"b":"[[[[[[\"[["}]}"#).depth, 3);
        assert_eq!(shape("[[[[]]]]").depth, 4);
        assert_eq!(shape("[[[]],[[]]]").depth, 3);
        assert_eq!(shape("]]]][").depth, 1);
        assert_eq!(shape(r#"["\\",[]]"#).depth, 2);
    }

    /// Values, counted where they are built.
    fn built(value: &Value) -> usize {
        1 + match value {
            Value::Array(items) => items.iter().map(built).sum(),
            Value::Object(members) => members.values().map(built).sum(),
            _ => 0,
        }
    }

    #[test]
    fn what_is_counted_is_what_is_built() {
        for json in [
            "null",
            " 7 ",
            "\"a,b:c\"",
            "[]",
            "[ ]",
            "{\n}",
            "[0]",
            "[[],{},[[]]]",
            r#"{"":0}"#,
            r#"{"a":[1,2,{"b":null}],"c":"\"{,","d":{}}"#,
            r#"[{"":0},{"":0},{"":0}]"#,
        ] {
            let value: Value = serde_json::from_str(json).unwrap();
            assert_eq!(shape(json).values, built(&value), "{json}");
        }
        assert_eq!(shape("").values, 1);
        assert_eq!(shape("\"no end, [").values, 1);
        assert_eq!(shape("\"\\").values, 1);
    }

    #[test]
    fn the_longest_name_is_a_name() {
        assert_eq!(shape(r#"{"abc":"longer than it","d" : 1}"#).name_bytes, 4);
        assert_eq!(shape(r#"["no name at all"]"#).name_bytes, 0);
    }
}
