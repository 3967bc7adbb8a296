//! What an agent, a crash or a restored backup can leave in the state folder: links, pipes, folders in one
//! another without end. The gateway goes on, follows nothing out, and starts again.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FileType, Mode, OFlags, mkfifoat, mknodat, openat};
use rustix::io::Errno;
use serde_json::{Value, json};

use crate::harness::gateway::Builder;
use crate::harness::{Client, Gateway, PATIENCE, eventually, params_agent, process};

/// A gateway whose agent keeps no process, in the sandbox or not.
fn setup(name: &str, sandbox: &str) -> Builder {
    Gateway::builder_in_memory(name)
        .agent_scripted()
        .config(json!({ "agent": { "sandbox": sandbox, "warmSeconds": 0, "maxProcesses": 3 } }))
}

/// Whoever runs the tests, root perhaps, and an ordinary user.
fn everybody(name: &str) -> [Builder; 2] {
    [setup(name, "bwrap"), setup(&format!("{name}-user"), "bwrap").by_ordinary_user()]
}

/// What a shell of a session's agent says.
fn shell(client: &mut Client, session: &str, command: &str) -> String {
    static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let mut params = params_agent(&format!("[[sh {command}]]"), &format!("shell-{number}"));
    params["sessionKey"] = json!(session);
    let last = client.outcome(&params);
    last["payload"]["summary"].as_str().unwrap_or_else(|| panic!("{last}")).to_owned()
}

/// Has a session's agent do something, which is to say nothing and succeed: what it could not plant
/// would be no trouble to anybody.
#[track_caller]
fn does(client: &mut Client, session: &str, command: &str) {
    assert_eq!(shell(client, session, command), "exit 0", "{command}");
}

/// A Python program for the agent, which it can read.
fn program(setup: &Builder, text: &str) -> String {
    let path = setup.scratch().join("probe/program.py");
    fs::write(&path, text).unwrap();
    format!("python3 {}", path.display())
}

/// The only folder in a folder.
fn only(folder: &Path) -> PathBuf {
    let mut entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let first = entries.next().unwrap_or_else(|| panic!("nothing in {}", folder.display()));
    assert_eq!(entries.next(), None);
    first
}

/// Waits until everything that was discarded is deleted.
#[track_caller]
fn tidied(gateway: &Gateway) {
    let tmp = gateway.state_dir().join("tmp");
    eventually("everything discarded to be deleted", PATIENCE, || {
        fs::read_dir(&tmp).is_ok_and(|mut entries| entries.next().is_none()).then_some(())
    });
}

/// How many folders named `a` are in one another. Their whole path would be too long for any call.
fn depth(folder: &Path) -> usize {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut here = openat(CWD, folder, flags, Mode::empty()).unwrap();
    let mut depth = 0;
    loop {
        match openat(&here, "a", flags, Mode::empty()) {
            Ok(next) => here = next,
            Err(error) => {
                assert_eq!(error, Errno::NOENT, "below {depth} folders");
                return depth;
            }
        }
        depth += 1;
    }
}

const DEEP: &str = "import os, sys\nos.chdir(sys.argv[1])\nfor _ in range(int(sys.argv[2])):\n    os.mkdir('a')\n    open('file', 'w').close()\n    os.chdir('a')\n";

#[test]
fn folders_in_one_another_without_end_are_counted_and_forgotten() {
    for setup in everybody("deep") {
        let deep = program(&setup, DEEP);
        let gateway = setup.spawn();
        let mut client = gateway.client();
        let state = gateway.state_dir();
        does(&mut client, "main", &format!("{deep} {}/agent/* 30000", state.display()));
        let planted = only(&state.join("agent"));
        assert_eq!(depth(&planted), 30_000);
        assert!(planted.join("a/a/a/file").exists());
        // The journal is compacted with what another session forgets, and the folder is counted.
        shell(&mut client, "other", "true");
        client.ask("session-forget", &json!({"sessionKey": "other"}));
        let mut gateway = gateway.restart();
        let mut client = gateway.client();
        client.ask("session-forget", &json!({"sessionKey": "main"}));
        assert_eq!(fs::read_dir(state.join("agent")).unwrap().count(), 0, "out of view with the answer");
        // Killed in the middle of it, the next one goes on.
        gateway.sigkill();
        let gateway = gateway.setup().spawn();
        tidied(&gateway);
        eventually("the thread to go", PATIENCE, || {
            (!gateway.threads().contains(&"janitor".to_owned())).then_some(())
        });
        assert_eq!(gateway.client().ask("health", &json!({}))["storage"]["ok"], true);
    }
}

#[test]
fn what_is_no_file_in_the_place_of_the_agents_session_ends_no_run_and_holds_up_nobody() {
    for setup in everybody("odd-session") {
        let gateway = setup.spawn();
        let mut client = gateway.client();
        let state = gateway.state_dir();
        fs::write(state.join("secret"), "{\"type\":\"session\",\"id\":\"swordfish\"}").unwrap();
        shell(&mut client, "main", "true");
        let sessions = client.ask("sessions-list", &json!({}));
        let name = format!("{}.jsonl", sessions["sessions"][0]["sessionId"].as_str().unwrap());
        for kind in [
            "mkfifo $F",
            "ln -s ../../secret $F",
            "ln -s nothing $F",
            "mkdir -p $F/a/b",
            "python3 -c 'import socket,sys; socket.socket(socket.AF_UNIX).bind(sys.argv.pop())' $F",
            "touch $F; chmod 000 $F",
            "truncate -s 1T $F",
        ] {
            let folder = format!("{}/agent/*", state.display());
            does(&mut client, "main", &format!("cd {folder} && rm -rf {name} && F={name} && {kind}"));
            let id = client.send("agent", &params_agent("[[say fine]]", kind));
            let last = client.answer(&id);
            let last = if last["payload"]["status"] == "accepted" { client.answer(&id) } else { last };
            assert_eq!(last["payload"]["summary"], "fine", "{kind}: {last}");
        }
        assert_eq!(shell(&mut client, "other", "echo served"), "served");
        assert_eq!(fs::read_to_string(state.join("secret")).unwrap().lines().count(), 1);
        assert!(
            !fs::read_to_string(state.join("secret")).unwrap().ends_with('\n'),
            "no line was ended in it"
        );
        client.ask("session-forget", &json!({"sessionKey": "main"}));
        tidied(&gateway);
    }
}

#[test]
fn folders_that_are_locked_are_forgotten_all_the_same() {
    for setup in everybody("locked") {
        let gateway = setup.spawn();
        let mut client = gateway.client();
        let state = gateway.state_dir();
        let lock = [
            "mkdir x && chmod 000 x",
            "mkdir -p y/a/b && touch y/a/b/file && chmod 500 y/a/b && chmod 000 y/a && chmod 600 y",
            "touch z && chmod 000 z",
            "chmod 000 .",
        ];
        does(&mut client, "main", &format!("cd {}/agent/* && {}", state.display(), lock.join(" && ")));
        client.ask("session-forget", &json!({"sessionKey": "main"}));
        assert_eq!(fs::read_dir(state.join("agent")).unwrap().count(), 0);
        tidied(&gateway);
    }
}

/// A full state folder, in which an old picture and an old conversation may go. Returns the picture.
fn fill(state: &Path) -> PathBuf {
    let picture = state.join("media/somebody/0-old.png");
    for (path, bytes) in [(&picture, 1 << 20), (&state.join("agent/somebody/now.jsonl"), 16 << 20)] {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, vec![b'x'; bytes]).unwrap();
        make_old(path);
    }
    picture
}

fn make_old(path: &Path) {
    let then = std::time::SystemTime::now() - Duration::from_secs(3 * 3_600);
    fs::File::open(path).unwrap().set_modified(then).unwrap();
}

#[test]
fn making_room_follows_no_link_and_passes_over_folders() {
    let setup = setup("room", "bwrap").config(json!({ "storage": { "maxMb": 16 } }));
    let state = setup.state_dir();
    let picture = fill(&state);
    let login = state.join("whatsapp/creds.json");
    let theirs = setup.scratch().join("theirs");
    for folder in
        [login.parent().unwrap(), &theirs, &state.join("media/somebody/x"), &state.join("agent/other")]
    {
        fs::create_dir_all(folder).unwrap();
        make_old(folder);
    }
    for file in [&login, &theirs.join("file")] {
        fs::write(file, "precious").unwrap();
        make_old(file);
    }
    symlink(state.join("whatsapp"), state.join("agent/somebody/media")).unwrap();
    symlink(&theirs, state.join("agent/other/media")).unwrap();
    symlink(&theirs, state.join("agent/theirs")).unwrap();
    symlink(&theirs, state.join("media/theirs")).unwrap();
    symlink(theirs.join("file"), state.join("agent/other/old.jsonl")).unwrap();
    symlink(&theirs, state.join("journal.damaged-1")).unwrap();
    let gateway = setup.spawn();
    eventually("the old picture to make room", PATIENCE, || (!picture.exists()).then_some(()));
    let mut client = gateway.client();
    assert_eq!(shell(&mut client, "main", "echo served"), "served");
    assert_eq!(client.ask("health", &json!({}))["storage"]["ok"], true);
    for file in [&login, &theirs.join("file")] {
        assert_eq!(fs::read_to_string(file).unwrap(), "precious", "{}", file.display());
    }
}

#[test]
fn a_file_with_holes_is_as_large_as_what_is_in_it() {
    let setup = setup("holes", "bwrap").config(json!({ "storage": { "maxMb": 32 } }));
    let picture = fill(&setup.state_dir());
    let gateway = setup.spawn();
    let mut client = gateway.client();
    let state = gateway.state_dir();
    let links = "for n in 1 2 3 4 5 6 7 8 9; do ln big link$n; done";
    let files = format!("truncate -s 1T holes && head -c 5000000 /dev/zero > big && {links}");
    // In its own folder, which is the one that it may write.
    does(&mut client, "main", &format!("for d in {}/agent/*; do cd $d && {files}; done", state.display()));
    drop(client);
    let gateway = gateway.restart();
    let used = eventually("the folder to be counted", PATIENCE, || {
        let used = gateway.client().ask("health", &json!({}))["storage"]["usedBytes"].as_u64().unwrap();
        (used > 17 << 20).then_some(used)
    });
    assert!(used < 30 << 20, "{used}");
    assert!(picture.exists(), "nothing has to go");
}

/// Plants something in the place of a file or folder, whatever is there.
type Plant = fn(&Path);

fn plants() -> [(&'static str, Plant); 7] {
    [
        ("named pipe", |path| mkfifoat(CWD, path, Mode::RWXU).unwrap()),
        ("socket", |path| mknodat(CWD, path, FileType::Socket, Mode::RWXU, 0).unwrap()),
        ("link", |path| symlink(path.ancestors().nth(2).unwrap().join("theirs/file"), path).unwrap()),
        ("link", |path| symlink("/dev/zero", path).unwrap()),
        ("link", |path| symlink("nothing", path).unwrap()),
        ("folder", |path| {
            fs::create_dir_all(path.join("a/b")).unwrap();
            fs::write(path.join("a/b/file"), "x").unwrap();
        }),
        ("locked", |path| {
            fs::write(path, "x").unwrap();
            fs::set_permissions(path, fs::Permissions::from_mode(0o000)).unwrap();
        }),
    ]
}

fn remove(path: &Path) {
    match path.symlink_metadata() {
        Ok(about) if about.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

/// A state folder in which something was said, with a precious file beside it.
fn used(setup: Builder) -> (Builder, PathBuf) {
    let gateway = setup.agent_echo().spawn();
    gateway.client().outcome(&params_agent("before", "before"));
    let setup = gateway.setup();
    fs::create_dir_all(setup.scratch().join("theirs")).unwrap();
    let theirs = setup.scratch().join("theirs/file");
    fs::write(&theirs, "precious").unwrap();
    drop(gateway.restart());
    (setup, theirs)
}

#[test]
fn whatever_lies_in_the_place_of_a_file_the_gateway_starts_and_works() {
    for setup in [
        Gateway::builder_in_memory("leftovers"),
        Gateway::builder_in_memory("leftovers-user").by_ordinary_user(),
    ] {
        starts_on_whatever_there_is(setup);
    }
}

fn starts_on_whatever_there_is(setup: Builder) {
    let (setup, theirs) = used(setup);
    let state = setup.state_dir();
    let log = only(&state.join("sessions")).file_name().unwrap().to_str().unwrap().to_owned();
    let places = [
        format!("sessions/{log}"),
        format!("sessions/{}", log.replace(".log", ".new")),
        format!("sessions/{log}.damaged-1"),
        "journal.new".to_owned(),
        "probe".to_owned(),
        "agent".to_owned(),
        "media".to_owned(),
        "tmp".to_owned(),
        "tmp/gone-1".to_owned(),
        "tmp/upload-1".to_owned(),
        "whatsapp".to_owned(),
        "whatsapp/media".to_owned(),
        "whatsapp/upload".to_owned(),
        "clawdis.json.damaged-1".to_owned(),
    ];
    for (number, place) in places.iter().enumerate() {
        for (kind, plant) in plants() {
            let path = state.join(place);
            remove(&path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            plant(&path);
            let started = Instant::now();
            let gateway = setup.clone().spawn();
            assert!(started.elapsed() < PATIENCE, "{place}: {kind}");
            let mut client = gateway.client();
            let key = format!("{number}-{kind}-{:?}", started.elapsed());
            let last = client.outcome(&params_agent("after", &key));
            assert!(last["payload"]["summary"].to_string().contains("after"), "{place}: {kind}: {last}");
            client.ask("session-history", &json!({"sessionKey": "main"}));
            let storage = client.ask("health", &json!({}))["storage"].clone();
            assert_eq!(storage["ok"], true, "{place}: {kind}: {storage}");
            drop((client, gateway));
            // What could not stay may be beside it, but not in the way.
            remove(&path);
        }
    }
    assert_eq!(fs::read_to_string(&theirs).unwrap(), "precious");
    let gateway = setup.spawn();
    gateway.client().ask("session-forget", &json!({"sessionKey": "main"}));
    tidied(&gateway);
    assert_eq!(fs::read_to_string(&theirs).unwrap(), "precious");
}

#[test]
fn a_lock_file_or_journal_that_is_none_is_named_and_nothing_is_written_through_it() {
    let (setup, theirs) = used(Gateway::builder_in_memory("in-the-way"));
    let state = setup.state_dir();
    for place in ["gateway.lock", "journal"] {
        let path = state.join(place);
        for (kind, plant) in plants().into_iter().filter(|(kind, _)| *kind != "locked") {
            fs::rename(&path, state.join("kept")).unwrap();
            plant(&path);
            let exit = setup.clone().run_to_exit();
            exit.expect(1, &[place, "in the way", kind, "move it"]);
            assert!(exit.elapsed < Duration::from_secs(5), "{place}: {kind}: {:?}", exit.elapsed);
            remove(&path);
            fs::rename(state.join("kept"), &path).unwrap();
        }
    }
    // Another name of somebody's file is no link, and would be written into all the same.
    fs::rename(state.join("gateway.lock"), state.join("kept")).unwrap();
    fs::hard_link(&theirs, state.join("gateway.lock")).unwrap();
    setup.clone().run_to_exit().expect(1, &["gateway.lock", "in the way", "move it"]);
    fs::rename(state.join("kept"), state.join("gateway.lock")).unwrap();
    fs::rename(state.join("journal"), state.join("kept")).unwrap();
    for text in ["precious", &"precious".repeat(1_000)] {
        fs::write(&theirs, text).unwrap();
        fs::hard_link(&theirs, state.join("journal")).unwrap();
        setup.clone().spawn().output.wait_for("journal", PATIENCE);
        assert_eq!(fs::read_to_string(&theirs).unwrap(), text);
        fs::remove_file(state.join("journal")).unwrap();
    }
    fs::rename(state.join("kept"), state.join("journal")).unwrap();
    setup.spawn().client().ask("health", &json!({}));
}

#[test]
fn a_config_or_token_that_is_no_file_is_said_and_one_behind_a_link_is_read() {
    let setup = Gateway::builder_in_memory("odd-config");
    let state = setup.state_dir();
    fs::create_dir_all(&state).unwrap();
    let real = setup.scratch().join("real");
    for (name, good, flag) in [
        ("clawdis.json", "{\"gateway\":{\"token\":\"swordfish-swordfish\"}}", None),
        ("token", "swordfish-swordfish\n", Some("--token-file")),
    ] {
        let path = state.join(name);
        let setup = match flag {
            Some(flag) => setup.clone().arg(flag).arg(path.to_str().unwrap()),
            None => setup.clone(),
        };
        let odd: [(&str, Plant); 5] = [
            ("named pipe", |path| mkfifoat(CWD, path, Mode::RWXU).unwrap()),
            ("device", |path| symlink("/dev/zero", path).unwrap()),
            ("folder", |path| fs::create_dir(path).unwrap()),
            ("socket", |path| mknodat(CWD, path, FileType::Socket, Mode::RWXU, 0).unwrap()),
            ("larger", |path| fs::File::create(path).unwrap().set_len(1 << 40).unwrap()),
        ];
        for (kind, plant) in odd {
            remove(&path);
            plant(&path);
            let exit = setup.clone().run_to_exit();
            exit.expect(2, &[path.to_str().unwrap(), kind]);
            assert!(exit.elapsed < Duration::from_secs(5), "{name}: {kind}: {:?}", exit.elapsed);
        }
        remove(&path);
        fs::write(&real, good).unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o600)).unwrap();
        symlink(&real, &path).unwrap();
        let gateway = setup.clients_say("swordfish-swordfish").spawn();
        gateway.client().ask("health", &json!({}));
        drop(gateway);
        remove(&path);
    }
}

/// A file of 80 MB that has no line in it, behind what it begins with.
fn endless(path: &Path, beginning: &[u8]) {
    fs::write(path, beginning).unwrap();
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(80 << 20).unwrap();
    // Not only zeros, which some would take for nothing.
    std::os::unix::fs::FileExt::write_all_at(&file, &vec![b'x'; 1 << 20], 50 << 20).unwrap();
}

fn peak_is_small(gateway: &Gateway, what: &str) {
    let peak = process::peak(gateway.pid());
    assert!(peak < 40 << 20, "{what}: {peak} bytes at most");
}

#[test]
fn damage_without_end_is_read_piece_by_piece() {
    let (setup, _) = used(Gateway::builder_in_memory("endless"));
    let state = setup.state_dir();
    let log = only(&state.join("sessions"));
    let whole = fs::read(&log).unwrap();
    let header = whole.split_inclusive(|byte| *byte == b'\n').next().unwrap();
    for (beginning, meanwhile) in [(header, &whole[..]), (b"", &whole)] {
        endless(&log, beginning);
        let gateway = setup.clone().spawn();
        let said =
            |client: &mut Client| client.ask("session-history", &json!({"sessionKey": "main"})).to_string();
        let mut client = gateway.client();
        assert!(said(&mut client).contains("before"), "the journal has it");
        // The disk may do the same to a gateway that serves.
        endless(&log, meanwhile);
        assert!(said(&mut client).contains("before"));
        let last = client.outcome(&params_agent("after", &format!("{}", beginning.len())));
        assert!(last["payload"]["summary"].to_string().contains("after"), "{last}");
        assert!(said(&mut client).contains("after"));
        peak_is_small(&gateway, "a session without end");
        drop((client, gateway.restart()));
        fs::write(&log, &whole).unwrap();
    }

    endless(&state.join("journal"), b"");
    let gateway = setup.clone().spawn();
    gateway.output.wait_for("damaged", PATIENCE);
    let health: Value = gateway.client().ask("health", &json!({}));
    assert_eq!((&health["storage"]["ok"], &health["paused"]), (&json!(true), &json!(true)));
    peak_is_small(&gateway, "a journal without end");
    drop(gateway);
    remove(
        &fs::read_dir(&state)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .find(|path| path.to_string_lossy().contains("journal.damaged"))
            .unwrap(),
    );

    // Behind good lines it is no torn write, which ends sooner.
    let good = fs::read(state.join("journal")).unwrap();
    endless(&state.join("journal"), &good);
    let gateway = setup.spawn();
    gateway.output.wait_for("cut off", PATIENCE);
    gateway.client().ask("health", &json!({}));
    peak_is_small(&gateway, "a torn line without end");
}
