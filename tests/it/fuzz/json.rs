//! Mutations of JSON that leave it JSON, mostly: members of other types, twice, missing or renamed,
//! and values that one parser takes and another does not.

use serde_json::{Map, Value, json};

use crate::fuzz::mutate::{index, one_in, pick};
use crate::harness::random::Random;

/// Around text that is to stand in the JSON as it is, and in front of a member's name that is there
/// already. Characters of private use, which no sample has.
const RAW_BEGIN: char = '\u{E000}';
const RAW_END: char = '\u{E001}';
const AGAIN: char = '\u{E002}';

/// What `serde_json` cannot hold, or writes otherwise.
const RAW: &[&str] = &[
    "1e999",
    "-1e999",
    "1e-999",
    "-0",
    "-0.0",
    "0.30000000000000004",
    "1.0",
    "30e0",
    "1E400",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "1152921504606846976.5",
    r#""\ud800""#,
    r#""\udc00\ud800""#,
    r#""a\ud83d""#,
    r#""\u0000""#,
    r#""\u202e\u2066\u200b""#,
    "tru",
    "NaN",
    "01",
    "\"\t\"",
    "[1,]",
    "{\"a\" 1}",
    "",
];
/// How deep a value is put into others: around the bounds of ours and of `serde_json`.
const DEPTHS: &[usize] = &[1, 2, 60, 63, 64, 65, 126, 127, 128, 1_000, 20_000];
/// Lengths around bounds.
const LENGTHS: &[usize] =
    &[0, 1, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1_023, 1_024, 1_025, 4_096, 65_536];

/// `value` with one or a few mutations, as text. `others` lend what they hold.
pub(crate) fn mutated(value: Value, others: &[Value], random: &mut Random) -> String {
    text(&changed(value, others, random))
}

/// The same as what [`text`] writes.
pub(crate) fn changed(mut value: Value, others: &[Value], random: &mut Random) -> Value {
    if !one_in(random, 16) {
        let most = 1 << random.below(3);
        for _ in 0..=random.below(most) {
            once(&mut value, others, random);
        }
    }
    value
}

fn once(value: &mut Value, others: &[Value], random: &mut Random) {
    let at = index(random, nodes(value));
    let Some(node) = node(value, &mut { at }) else { return };
    match (random.below(18), &mut *node) {
        (0 | 1, _) => *node = odd(random),
        (2, _) => *node = nested(&text(node), random),
        (3, _) => {
            let mut other = pick(random, others).clone();
            let place = index(random, nodes(&other));
            if let Some(found) = self::node(&mut other, &mut { place }) {
                *node = found.take();
            }
        }
        (4, _) => *node = Value::Null,
        (5 | 6, Value::Object(members)) => drop(name(members, random).and_then(|name| members.remove(&name))),
        (7, Value::Object(members)) => again(members, random),
        (8, Value::Object(members)) => rename(members, others, random),
        (5..=8, Value::Array(items)) => repeat(items, random),
        (9..=15, Value::String(text)) => stretch(text, random),
        (9..=15, Value::Number(_)) => *node = number(random),
        (9..=15, Value::Bool(yes)) => *yes = !*yes,
        _ => *node = if one_in(random, 2) { json!([node.take()]) } else { json!({ "": node.take() }) },
    }
}

fn nodes(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(nodes).sum(),
        Value::Object(members) => members.values().map(nodes).sum::<usize>(),
        _ => 0,
    }
}

/// The value with that number, counted from the outermost.
fn node<'a>(value: &'a mut Value, left: &mut usize) -> Option<&'a mut Value> {
    if *left == 0 {
        return Some(value);
    }
    *left -= 1;
    match value {
        Value::Array(items) => items.iter_mut().find_map(|item| node(item, left)),
        Value::Object(members) => members.values_mut().find_map(|member| node(member, left)),
        _ => None,
    }
}

fn odd(random: &mut Random) -> Value {
    match random.below(10) {
        0..=3 => {
            let text = *pick(random, RAW);
            raw(text)
        }
        4 => json!([]),
        5 => json!({}),
        6 => json!(one_in(random, 2)),
        7 => json!("x".repeat(*pick(random, LENGTHS))),
        _ => number(random),
    }
}

/// A number at the end of a range.
fn number(random: &mut Random) -> Value {
    match random.below(4) {
        0 => json!(u64::MAX >> random.below(64)),
        1 => json!(1_u64 << random.below(64)),
        2 => json!(i64::MIN >> random.below(64)),
        _ => json!(random.below(300)),
    }
}

fn nested(inner: &str, random: &mut Random) -> Value {
    let depth = *pick(random, DEPTHS);
    let (open, close) = *pick(random, &[("[", "]"), ("{\"a\":", "}"), ("{\"\":[", "]}")]);
    raw(&format!("{}{inner}{}", open.repeat(depth), close.repeat(depth)))
}

fn name(members: &Map<String, Value>, random: &mut Random) -> Option<String> {
    members.keys().nth(index(random, members.len())).cloned()
}

/// A member twice, with another value.
fn again(members: &mut Map<String, Value>, random: &mut Random) {
    if let Some(name) = name(members, random) {
        members.insert(format!("{AGAIN}{name}"), odd(random));
    }
}

fn rename(members: &mut Map<String, Value>, others: &[Value], random: &mut Random) {
    let Some(value) = name(members, random).and_then(|name| members.remove(&name)) else { return };
    let known = match pick(random, others) {
        Value::Object(other) => self::name(other, random),
        _ => None,
    };
    let name = known.filter(|_| one_in(random, 2)).unwrap_or_else(|| "n".repeat(*pick(random, LENGTHS)));
    members.insert(name, value);
}

fn repeat(items: &mut Vec<Value>, random: &mut Random) {
    if items.is_empty() || one_in(random, 3) {
        return items.truncate(items.len() / 2);
    }
    let item = pick(random, items).clone();
    let times = *pick(random, &[1, 2, 5, 64, 300]);
    items.extend(std::iter::repeat_n(item, times));
}

fn stretch(text: &mut String, random: &mut Random) {
    let odd = [
        "\0",
        "\u{1b}[31m",
        "\u{202e}",
        "\u{200b}",
        "\n",
        "\r\n",
        "\\",
        "\"",
        "..",
        "/",
        "\u{1F1E6}",
        "e\u{301}",
    ];
    let odd = *pick(random, &odd);
    let places: Vec<usize> =
        (0..=text.len()).filter(|at| text.is_char_boundary(*at)).take(LENGTHS.len() * 64).collect();
    let at = *pick(random, &places);
    match random.below(4) {
        0 => text.truncate(at),
        1 => text.insert_str(at, &odd.repeat(*pick(random, LENGTHS))),
        2 => text.insert_str(0, odd),
        _ => text.insert_str(at, odd),
    }
}

/// A value that stands for this text, whatever it is.
fn raw(text: &str) -> Value {
    Value::String(format!("{RAW_BEGIN}{text}{RAW_END}"))
}

/// As text, with the raw ones in their places.
pub(crate) fn text(value: &Value) -> String {
    let marked = value.to_string().replace(&format!("\"{AGAIN}"), "\"");
    let mut out = String::with_capacity(marked.len());
    let mut rest = marked.as_str();
    while let Some((before, begun)) = rest.split_once(&format!("\"{RAW_BEGIN}")) {
        out.push_str(before);
        let end = format!("{RAW_END}\"");
        let (inside, behind) = begun.split_once(&end).unwrap_or((begun, ""));
        out.push_str(&serde_json::from_str::<String>(&format!("\"{inside}\"")).unwrap_or_default());
        rest = behind;
    }
    out + rest
}

#[test]
fn raw_values_and_repeated_members_stand_in_the_text_as_they_are() {
    let mut value = json!({"a": "x", "b": [raw("1e999"), raw(r#""\ud800""#), raw("[[")]});
    value[format!("{AGAIN}a")] = json!("\"");
    let written = text(&value);
    assert!(written.contains(r#""b":[1e999,"\ud800",[[]"#), "{written}");
    assert!(written.contains(r#""a":"x""#) && written.contains(r#""a":"\"""#), "{written}");
}

#[test]
fn the_same_seed_means_the_same_mutations() {
    let sample = json!({"type": "req", "params": {"a": [1, 2, {"b": null}], "c": "text"}});
    let all = |seed: u64| -> Vec<String> {
        let mut random = Random(seed);
        (0..200).map(|_| mutated(sample.clone(), &[sample.clone(), json!([1])], &mut random)).collect()
    };
    assert_eq!(all(1), all(1));
    let (one, other) = (all(1), all(2));
    assert_ne!(one, other);
    let still_json = one.iter().filter(|text| serde_json::from_str::<Value>(text).is_ok()).count();
    let written = sample.to_string();
    let changed = one.iter().filter(|text| **text != written).count();
    assert!(still_json > 50 && changed > 150, "{still_json} of 200 are JSON, {changed} changed");
}
