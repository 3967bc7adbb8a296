//! The budget: runs of today, in all and by person, against what the config allows. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::config::file::Agent;
use crate::limits::{BUDGET_TOLD_MAX, SANE_CLOCK_MS};
use crate::state::model::access::OWNER;

/// Stands for the people whose sessions were forgotten.
const FORGOTTEN: &str = "forgotten";

/// One part in so many of a day's runs is kept for the owner.
const OWNERS_PART: u64 = 10;

/// A day in milliseconds; days begin at midnight UTC.
const DAY_MS: u64 = 86_400_000;

/// Runs of today.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Today {
    /// Days since 1970.
    day: u64,
    pub(crate) by_person: BTreeMap<String, u64>,
    /// People who were told that the budget is used up, and `owner` if the owner was told of others.
    #[serde(default)]
    told: BTreeSet<String>,
    /// People who asked in groups, by the group's session.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    in_groups: BTreeMap<String, BTreeSet<String>>,
}

impl Today {
    /// Begins a new count at midnight. A clock that is not set yet knows no midnight.
    pub(crate) fn turn_over(&mut self, wall_ms: u64) {
        let day = wall_ms / DAY_MS;
        if self.day != day && wall_ms >= SANE_CLOCK_MS {
            *self = Self { day, ..Self::default() };
        }
    }

    /// The time until midnight if another run of the person would be over the budget of the config.
    pub(crate) fn wait_ms(&mut self, person: &str, agent: &Agent, wall_ms: u64) -> Option<u64> {
        self.turn_over(wall_ms);
        let own = self.by_person.get(person).copied().unwrap_or(0);
        let kept = if person == OWNER { 0 } else { agent.daily_runs / OWNERS_PART };
        let over = self.runs() >= agent.daily_runs - kept || own >= agent.daily_runs_per_person;
        over.then(|| DAY_MS - wall_ms % DAY_MS)
    }

    /// Notes that somebody is told that the budget is used up; `false` if they were told today, or are not to be.
    /// In a group where everybody may ask there is no end of people: beyond the bound only the owner is told.
    pub(crate) fn tell(&mut self, whom: &str) -> bool {
        (self.told.len() < BUDGET_TOLD_MAX || whom == OWNER) && self.told.insert(whom.to_owned())
    }

    /// Counts a run of that person.
    pub(crate) fn count(&mut self, person: &str, wall_ms: u64) {
        self.turn_over(wall_ms);
        let count = self.by_person.entry(person.to_owned()).or_default();
        *count = count.saturating_add(1);
    }

    /// Remembers that somebody asked in a group, if they are named here: they may have no session of their own with
    /// which they could be forgotten.
    pub(crate) fn saw(&mut self, person: &str, session_key: &str) {
        let is_named = self.by_person.contains_key(person) || self.told.contains(person);
        if is_named && person != OWNER && session_key.starts_with("group:") {
            self.in_groups.entry(session_key.to_owned()).or_default().insert(person.to_owned());
        }
    }

    /// Takes the people who asked in a group whose session is forgotten off the count, unless they asked in another
    /// group or have a session. `false` if there was nothing to forget.
    pub(crate) fn forget_group(&mut self, session_key: &str, has_session: impl Fn(&str) -> bool) -> bool {
        let Some(people) = self.in_groups.remove(session_key) else { return false };
        for person in people {
            let is_elsewhere = self.in_groups.values().any(|people| people.contains(&person));
            if !is_elsewhere && !has_session(&person) {
                self.forget(&person);
            }
        }
        true
    }

    /// Takes a person off the count; their runs still count for all. `false` if they were not on it.
    pub(crate) fn forget(&mut self, person: &str) -> bool {
        for people in self.in_groups.values_mut() {
            people.remove(person);
        }
        self.in_groups.retain(|_, people| !people.is_empty());
        let was_told = self.told.remove(person);
        let Some(runs) = self.by_person.remove(person) else { return was_told };
        let forgotten = self.by_person.entry(FORGOTTEN.to_owned()).or_default();
        *forgotten = forgotten.saturating_add(runs);
        true
    }

    pub(crate) fn runs(&self) -> u64 {
        self.by_person.values().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

#[cfg(test)]
mod tests {
    use super::{BUDGET_TOLD_MAX, DAY_MS, Today};
    use crate::config::file::{Agent, Config};

    #[test]
    fn the_budget_is_per_person_in_all_and_per_day() {
        let budget = &Agent { daily_runs: 3, daily_runs_per_person: 2, ..Config::default().agent };
        let mut today = Today::default();
        let noon = 30_000 * DAY_MS + DAY_MS / 2;
        today.count("a", noon);
        today.count("a", noon);
        assert_eq!(today.wait_ms("a", budget, noon), Some(DAY_MS / 2));
        assert_eq!(today.wait_ms("b", budget, noon), None);
        today.count("b", noon);
        assert_eq!(today.wait_ms("b", budget, noon), Some(DAY_MS / 2), "three in all");
        assert_eq!(today.wait_ms("a", budget, noon + DAY_MS / 2), None, "a new day");
        assert_eq!(today.runs(), 0);
    }

    #[test]
    fn a_person_who_is_forgotten_frees_nothing_for_the_others() {
        let budget = &Agent { daily_runs: 3, daily_runs_per_person: 2, ..Config::default().agent };
        let (mut today, noon) = (Today::default(), 30_000 * DAY_MS);
        for person in ["a", "b", "b"] {
            today.count(person, noon);
        }
        assert!(today.tell("b") && today.forget("b") && today.forget("a") && !today.forget("c"));
        assert_eq!(today.by_person.iter().collect::<Vec<_>>(), [(&"forgotten".to_owned(), &3)]);
        assert!(today.wait_ms("c", budget, noon).is_some(), "three in all");
        assert!(today.tell("b"), "nobody knows that they were told");
    }

    #[test]
    fn counts_beyond_all_bounds_end_nothing() {
        let (mut today, noon) = (Today::default(), 30_000 * DAY_MS);
        for person in ["a", "b"] {
            today.by_person.insert(person.to_owned(), u64::MAX);
            today.count(person, noon);
        }
        assert!(today.forget("a") && today.forget("b"));
        assert_eq!(today.by_person["forgotten"], u64::MAX);
    }

    #[test]
    fn no_end_of_people_are_told_but_always_the_owner() {
        let mut today = Today::default();
        let told = (0..50_000).filter(|person| today.tell(&person.to_string())).count();
        assert_eq!(told, BUDGET_TOLD_MAX);
        assert!(today.tell("owner") && !today.tell("owner"));
    }

    #[test]
    fn a_clock_that_is_not_set_yet_begins_no_day() {
        let budget = &Agent { daily_runs: 1, daily_runs_per_person: 1, ..Config::default().agent };
        let (mut today, noon) = (Today::default(), 30_000 * DAY_MS);
        today.count("a", noon);
        assert!(today.wait_ms("a", budget, 60_000).is_some(), "a start without a clock of its own");
        assert!(today.wait_ms("a", budget, noon + 1).is_some(), "and the count is still there");
    }
}
