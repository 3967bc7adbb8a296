//! Who is who in the older folders, and the config that knows them.

use serde_json::{Value, json};

use crate::telegram::botapi::BotApi;

/// Named as the owner with `channel-allow`.
pub(super) const OWNER: i64 = 7;
/// In `telegram.allowFrom`.
pub(super) const FRIEND: i64 = 8;
/// Let in with `channel-allow`.
pub(super) const MEMBER: i64 = 9;
/// Let in, too, and has used up the day's answers.
pub(super) const CHATTY: i64 = 10;
/// Nobody that anybody knows.
pub(super) const STRANGER: i64 = 66;
/// A group in `telegram.groups`.
pub(super) const CLUB: i64 = -500;
/// A forum in it, with one topic.
pub(super) const FORUM: i64 = -1_000_600;
pub(super) const TOPIC: i64 = 11;
/// A group that was let in with `channel-allow`, and its id today.
pub(super) const PARTY: i64 = -700;
pub(super) const PARTY_NOW: i64 = -1_000_700;
/// The channel `@news`.
pub(super) const NEWS: i64 = -1_000_800;

/// Of both lives.
pub(super) fn config() -> Value {
    json!({
        "agent": {"maxProcesses": 8, "dailyRunsPerPerson": 10},
        "gateway": {"mediaFolders": ["/srv/pictures"]},
        "heartbeat": {"everyMinutes": 30, "prompt": "[[say Water the plants.]]"},
        "telegram": {"allowFrom": [FRIEND.to_string()], "groups": {CLUB.to_string(): {}, FORUM.to_string(): {}}},
    })
}

/// The chats as the server knows them.
pub(super) fn prepare(api: &BotApi) {
    api.with(|world| {
        for chat in [OWNER, FRIEND, MEMBER, CHATTY, STRANGER, CLUB, PARTY] {
            world.open(chat);
        }
        world.forum(FORUM, &[TOPIC]);
        world.forum(PARTY_NOW, &[]);
        world.forum(NEWS, &[]);
        world.chat(NEWS).username = Some("news".to_owned());
    });
}
