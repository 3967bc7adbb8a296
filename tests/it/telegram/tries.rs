//! A message whose run the gateway does not live through: it is tried a few times, and takes no other
//! with it.

use serde_json::json;

use crate::harness::{PATIENCE, eventually};
use crate::telegram::lab::{FRIEND, Lab, OWNER};

const GIVEN_UP: &str = "I was interrupted again and again";
const TRIES: usize = 3;

fn lab(name: &str) -> Lab {
    Lab::with(name, |setup| setup.config(json!({"agent": {"maxProcesses": 1}})))
}

/// Waits until the agent was given the poison so often.
#[track_caller]
fn poisoned(lab: &Lab, times: usize) {
    eventually(&format!("the poison for the {times}. time"), PATIENCE, || {
        (lab.prompts_with("[[hold poison]]") == times).then_some(())
    });
}

#[test]
fn a_poisonous_message_takes_no_other_with_it() {
    let mut lab = lab("poison");
    lab.text(FRIEND, FRIEND, "[[hold poison]]");
    poisoned(&lab, 1);
    lab.owner("please water the plants [[say watered]]");
    lab.text(FRIEND, FRIEND, "[[say the same person]]");
    lab.api.confirmed();
    for times in 1..=TRIES {
        poisoned(&lab, times);
        lab.crash();
    }
    assert_eq!(lab.api.answers(OWNER, 1), ["watered"]);
    let told = lab.api.answers(FRIEND, 2);
    assert!(told[0].starts_with(GIVEN_UP) && told[1] == "the same person", "{told:?}");
    lab.sync();
    assert_eq!(lab.prompts_with("[[hold poison]]"), TRIES);
    for innocent in ["water the plants", "the same person"] {
        assert_eq!(lab.prompts_with(innocent), 1, "{innocent}");
    }
    let prompts = lab.gateway.prompts().join("\n");
    assert_eq!(prompts.matches("This was being worked on").count(), TRIES - 1, "{prompts}");
}

#[test]
fn what_shared_a_prompt_with_it_is_answered() {
    let mut lab = lab("poison-shared");
    lab.text(FRIEND, FRIEND, "[[hold first]]");
    eventually("the first to run", PATIENCE, || (lab.prompts_with("hold first") == 1).then_some(()));
    let mut client = lab.gateway.client();
    for text in ["[[say watered]] the plants", "[[hold poison]]", "[[say fed]] the cat"] {
        lab.text(FRIEND, FRIEND, text);
    }
    client.event("agent", |event| event["payload"]["data"]["position"] == 3);
    lab.gateway.release("first");
    poisoned(&lab, 1);
    assert_eq!(lab.gateway.prompts().len(), 2, "three in one prompt");
    // From here on each is alone: what was asked first is answered before the next death.
    lab.crash();
    // Told before the next death: of what is on its way then nobody knows whether it arrives.
    lab.api
        .wait("the first answer", |world| world.texts(FRIEND).contains(&"watered".to_owned()).then_some(()));
    for times in 2..=TRIES {
        poisoned(&lab, times);
        lab.crash();
    }
    let texts = lab.api.wait("both answers and a word on the third", |world| {
        let texts = world.texts(FRIEND);
        let has = |wanted: &str| texts.iter().any(|text| text.starts_with(wanted));
        (has("watered") && has("fed") && has(GIVEN_UP)).then_some(texts)
    });
    lab.sync();
    assert_eq!(lab.prompts_with("[[hold poison]]"), TRIES, "{texts:?}");
    assert_eq!((lab.prompts_with("the plants"), lab.prompts_with("the cat")), (2, 2));
    assert_eq!(texts.iter().filter(|text| *text == "watered" || *text == "fed").count(), 2, "{texts:?}");
}
