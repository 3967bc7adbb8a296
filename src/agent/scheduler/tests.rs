//! The scheduler's rules, one test each, with time passed in.

use super::*;

const WARM: Duration = Duration::from_secs(300);

fn run(id: &str, key: &str) -> Box<RunSpec> {
    spec(id, key, "s1", Thinking::Off)
}

fn spec(id: &str, key: &str, session_id: &str, thinking: Thinking) -> Box<RunSpec> {
    Box::new(RunSpec {
        run_id: id.into(),
        session_key: key.into(),
        session_id: session_id.into(),
        prompt: String::new(),
        images: Vec::new(),
        image_files: Vec::new(),
        thinking,
        timeout: WARM,
    })
}

/// `start 1 a` / `give 1 b` / `end 1` / `delete main`, as one line.
fn plan(scheduler: &mut Scheduler, now: Instant) -> String {
    let actions: Vec<_> = scheduler
        .plan(now)
        .into_iter()
        .map(|action| match action {
            Action::Start(id, run) => format!("start {id} {}", run.run_id),
            Action::Assign(id, run) => format!("give {id} {}", run.run_id),
            Action::End(id) => format!("end {id}"),
            Action::Delete(key) => format!("delete {key}"),
        })
        .collect();
    actions.join(", ")
}

#[test]
fn one_run_at_a_time_per_session_in_order() {
    let (mut it, now) = (Scheduler::new(4, WARM), Instant::now());
    for id in ["a", "b", "c"] {
        it.enqueue(run(id, "main"));
    }
    assert_eq!(plan(&mut it, now), "start 1 a");
    assert_eq!(plan(&mut it, now), "");
    assert_eq!(it.process_of(&"a".into()), Some(1));
    it.idle(1, now);
    assert_eq!(plan(&mut it, now), "give 1 b");
    it.idle(1, now);
    assert_eq!(plan(&mut it, now), "give 1 c");
}

#[test]
fn sessions_run_side_by_side_up_to_the_bound() {
    let (mut it, now) = (Scheduler::new(2, WARM), Instant::now());
    for (id, key) in [("a", "x"), ("b", "y"), ("c", "z"), ("d", "x")] {
        it.enqueue(run(id, key));
    }
    assert_eq!(plan(&mut it, now), "start 1 a, start 2 b");
    it.idle(2, now);
    // `c` came before `d` and takes the place of the only idle process.
    assert_eq!(plan(&mut it, now), "end 2");
    assert_eq!(plan(&mut it, now), "", "the place that is being freed is enough for `c`");
    it.idle(1, now);
    assert_eq!(plan(&mut it, now), "give 1 d");
    it.gone(2);
    assert_eq!(plan(&mut it, now), "start 3 c");
}

#[test]
fn the_least_recently_used_goes_first() {
    let (mut it, now) = (Scheduler::new(2, WARM), Instant::now());
    it.enqueue(run("a", "x"));
    it.enqueue(run("b", "y"));
    plan(&mut it, now);
    it.idle(2, now);
    it.idle(1, now + Duration::from_secs(1));
    it.enqueue(run("c", "z"));
    assert_eq!(plan(&mut it, now), "end 2");
}

#[test]
fn another_level_or_conversation_needs_another_process_and_waits_for_the_old_one() {
    for other in [spec("b", "main", "s1", Thinking::High), spec("b", "main", "s2", Thinking::Off)] {
        let (mut it, now) = (Scheduler::new(4, WARM), Instant::now());
        it.enqueue(run("a", "main"));
        plan(&mut it, now);
        it.idle(1, now);
        it.enqueue(other);
        assert_eq!(plan(&mut it, now), "end 1");
        assert_eq!(plan(&mut it, now), "", "the file still has its owner");
        it.gone(1);
        assert_eq!(plan(&mut it, now), "start 2 b");
    }
}

#[test]
fn a_warm_process_expires() {
    let (mut it, now) = (Scheduler::new(1, WARM), Instant::now());
    it.enqueue(run("a", "main"));
    plan(&mut it, now);
    assert_eq!(it.deadline(), None, "a busy one does not");
    it.idle(1, now);
    assert_eq!(it.deadline(), Some(now + WARM));
    assert_eq!(plan(&mut it, now + WARM.mul_f32(0.99)), "");
    assert_eq!(plan(&mut it, now + WARM), "end 1");
    assert_eq!(it.deadline(), None);
}

#[test]
fn ending_a_session_waits_for_its_run_and_its_later_runs_wait_for_it() {
    let (mut it, now) = (Scheduler::new(4, WARM), Instant::now());
    it.enqueue(run("a", "main"));
    plan(&mut it, now);
    it.end_session("main".into(), true);
    it.enqueue(spec("b", "main", "s2", Thinking::Off));
    assert_eq!(plan(&mut it, now), "");
    it.idle(1, now);
    assert_eq!(plan(&mut it, now), "end 1");
    it.gone(1);
    assert_eq!(plan(&mut it, now), "delete main, start 2 b");
}

#[test]
fn ending_a_session_without_processes_is_immediate() {
    let (mut it, now) = (Scheduler::new(1, WARM), Instant::now());
    it.end_session("kept".into(), false);
    it.end_session("gone".into(), true);
    assert_eq!(plan(&mut it, now), "delete gone");
    assert_eq!(plan(&mut it, now), "");
}

#[test]
fn places_in_the_queue_are_told_once_and_again_when_they_change() {
    let (mut it, now) = (Scheduler::new(1, WARM), Instant::now());
    for id in ["a", "b", "c"] {
        it.enqueue(run(id, "main"));
    }
    plan(&mut it, now);
    assert_eq!(it.changed_positions(), [("b".into(), 1), ("c".into(), 2)]);
    assert_eq!(it.changed_positions(), []);
    assert_eq!(it.dequeue(&"b".into()).unwrap().run_id, "b".into());
    assert_eq!(it.changed_positions(), [("c".into(), 1)]);
    assert!(it.dequeue(&"b".into()).is_none());
    assert_eq!(it.dequeue_all().count(), 1);
}
