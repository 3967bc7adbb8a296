//! `allow`: lets somebody in, and says what that means.

use serde_json::Value;

use crate::cli::context::Context;
use crate::cli::failure::Result;
use crate::cli::show::facts;
use crate::cli::terminal::print;
use crate::text::one_line;

/// What a person should know before, and at the latest when, they let another in.
const MEANING: &str = "Whoever is let in commands a shell with your rights, within the sandbox's walls, and reads what it can read.";

/// The verb `allow`: asks the gateway to let somebody in.
pub(crate) fn allow(context: &Context, params: Value) -> Result<()> {
    let answer = context.ask("channel-allow", &params)?;
    if context.output.json {
        return context.output.write_json(&answer);
    }
    print(&told(answer))
}

fn told(mut answer: Value) -> String {
    let note = answer.as_object_mut().and_then(|members| members.remove("note"));
    let note = note.as_ref().and_then(Value::as_str).map(one_line);
    let is_let_in = answer["allowed"] == true && answer["owner"] == false;
    let meaning = is_let_in.then(|| MEANING.to_owned());
    let lines = [Some(facts(&answer)), meaning, note].into_iter().flatten();
    lines.flat_map(|line| [line, "\n".to_owned()]).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{MEANING, told};

    #[test]
    fn letting_somebody_in_says_what_it_means() {
        let answer = |allowed: bool, owner: bool| json!({ "channel": "telegram", "id": "7", "allowed": allowed, "owner": owner });
        let let_in = told(answer(true, false));
        assert!(let_in.starts_with("allowed yes, channel telegram, id 7, owner no\n"), "{let_in}");
        assert!(let_in.ends_with(&format!("\n{MEANING}\n")), "{let_in}");
        assert!(!told(answer(false, false)).contains(MEANING) && !told(answer(true, true)).contains(MEANING));
        let mut noted = answer(true, false);
        noted["note"] = json!("Nobody is\u{1b}[1m the owner yet.\u{202e}");
        assert!(told(noted).ends_with("\nNobody is[1m the owner yet.\n"));
    }
}
