//! The sandbox's walls, tried from inside with the real bubblewrap: as root, who would be let through
//! most of them, and as an ordinary user.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;

use rustix::process::geteuid;
use serde_json::{Value, json};

use crate::agent::sandbox::shell;
use crate::harness::gateway::Builder;
use crate::harness::{Client, Gateway, PATIENCE, eventually, params_agent, process};

/// A daemon to be for each kind of user, whose agent does what the prompt says in its sandbox.
pub(crate) fn for_everybody(name: &str) -> Vec<Builder> {
    let kinds: &[bool] = if geteuid().is_root() { &[false, true] } else { &[false] };
    let setup = |ordinary: &bool| {
        let members = json!({ "agent": { "sandbox": "bwrap" } });
        let setup = Gateway::builder_in_view(name).agent_scripted().config(members);
        if *ordinary { setup.by_ordinary_user() } else { setup }
    };
    kinds.iter().map(setup).collect()
}

fn home(setup: &Builder) -> PathBuf {
    setup.scratch().join("home")
}

fn agent_health(client: &mut Client) -> Value {
    client.ask("health", &json!({}))["agent"].clone()
}

/// A file with `swordfish` in it.
fn lay(path: &Path) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "swordfish").unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn no_wall_can_be_taken_down() {
    for setup in for_everybody("walls-down") {
        let [token, open] = ["token", "open"].map(|name| setup.scratch().join(name));
        lay(&token);
        lay(&open);
        lay(&home(&setup).join(".ssh/id_ed25519"));
        let setup = setup.arg("--token-file").arg(&token.display().to_string()).clients_say("swordfish");
        let key = home(&setup).join(".ssh");
        let gateway = setup.spawn();
        let state = gateway.state_dir();
        fs::write(state.join("canary"), "swordfish").unwrap();
        let mut client = gateway.client();
        // What is not hidden is read in the same way, so that nothing else keeps it from being said.
        assert_eq!(shell(&mut client, &format!("cat {}", open.display()), "open"), "swordfish");
        let (state, token, key) = (state.display(), token.display(), key.display());
        let look = format!("cat {token} {state}/canary {key}/id_ed25519");
        let ways = [
            format!("umount {token}; umount -l {state}; umount -l {key}; {look}"),
            format!("unshare -Urm sh -c 'umount {token}; umount -l {state}; umount {key}; {look}'"),
            format!(
                "unshare -Urm sh -c 'mkdir /tmp/r; mount --bind / /tmp/r; cat /tmp/r{token} /tmp/r{state}/canary'"
            ),
            format!("mount -t tmpfs t /etc; mkdir /tmp/s; mount --rbind / /tmp/s; cat /tmp/s{token}"),
            format!("nsenter -t 1 -m cat {token}; chroot /proc/1/root cat {token}"),
            format!("mknod disk b 254 0; mknod /tmp/disk b 8 0; {look}"),
        ];
        for (key, way) in ways.iter().enumerate() {
            let said = shell(&mut client, way, &key.to_string());
            assert!(!said.contains("swordfish"), "{way}: {said}");
        }
        let rights = shell(&mut client, "grep -h CapEff /proc/self/status", "rights");
        assert!(rights.ends_with("0000000000000000"), "{rights}");
        // Settings of the whole machine, which name a program for root to run among others. What is
        // written is what stands there.
        for file in ["/proc/sys/kernel/core_pattern", "/proc/sys/vm/swappiness", "/sys/kernel/mm/ksm/run"] {
            let said = shell(&mut client, &format!("cat {file} > {file} && echo written"), file);
            assert!(!said.contains("written"), "{file}: {said}");
        }
    }
}

#[test]
fn nothing_that_runs_outside_can_be_planted() {
    for setup in for_everybody("walls-plant") {
        let gateway = setup.spawn();
        let mut client = gateway.client();
        let home = home(&gateway.setup());
        let program = gateway.setup().scratch().join("program");
        lay(&program);
        let places = [
            home.join(".bashrc"),
            home.join(".local/bin/bwrap"),
            home.join(".config/systemd/user/x.service"),
            home.join(".config/autostart/x.desktop"),
            program.with_file_name("planted"),
            PathBuf::from("/usr/local/bin/clawdis-planted"),
            PathBuf::from("/etc/cron.d/clawdis-planted"),
            PathBuf::from("/var/spool/cron/crontabs/clawdis-planted"),
        ];
        for (key, place) in places.iter().enumerate() {
            let (place, folder) = (place.display(), place.parent().unwrap().display());
            shell(&mut client, &format!("mkdir -p {folder}; echo planted > {place}"), &key.to_string());
        }
        shell(&mut client, &format!("echo planted >> {0}; mv {0} {0}.old", program.display()), "program");
        let planted: Vec<PathBuf> =
            places.into_iter().filter(|place| fs::remove_file(place).is_ok()).collect();
        assert!(planted.is_empty(), "{planted:?}");
        assert_eq!(fs::read_to_string(program).unwrap(), "swordfish");
        // What it was given it may write: with that the others fail for no other reason.
        assert_eq!(
            shell(&mut client, "pwd; echo mine > file && cat file", "own").lines().last(),
            Some("mine")
        );
        assert_eq!(fs::read_to_string(home.join("clawdis/file")).unwrap(), "mine\n");
        let mode = fs::metadata(home.join("clawdis")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}

#[test]
fn a_bubblewrap_in_the_path_is_not_taken_for_the_system_s() {
    for setup in for_everybody("walls-path") {
        let [planted, traces] = [".local/bin", "traces"].map(|name| home(&setup).join(name));
        fs::create_dir_all(&planted).unwrap();
        fs::create_dir_all(&traces).unwrap();
        let script = format!("#!/bin/sh\ntouch {}/run\nexit 0\n", traces.display());
        fs::write(planted.join("bwrap"), script).unwrap();
        fs::set_permissions(planted.join("bwrap"), Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:{}", planted.display(), std::env::var("PATH").unwrap());
        let gateway = setup.env("PATH", &path).spawn();
        let mut client = gateway.client();
        assert_eq!(agent_health(&mut client)["sandbox"], "bwrap");
        assert_eq!(shell(&mut client, "echo works", "1"), "works");
        assert!(!traces.join("run").exists());
    }
}

#[test]
fn sockets_of_other_programs_cannot_be_reached() {
    for setup in for_everybody("walls-sockets") {
        let id = format!("clawdis-test-{}", std::process::id());
        let runtime = home(&setup).join(".runtime");
        let mut places = vec![
            PathBuf::from(format!("/tmp/{id}/default")),
            PathBuf::from(format!("/var/tmp/{id}/default")),
            runtime.join("bus"),
            home(&setup).join(".docker/run/docker.sock"),
            setup.scratch().join("not in the home.sock"),
        ];
        if geteuid().is_root() {
            places.push(PathBuf::from(format!("/run/{id}/private")));
        }
        let listeners: Vec<UnixListener> = places
            .iter()
            .map(|place| {
                fs::create_dir_all(place.parent().unwrap()).unwrap();
                let listener = UnixListener::bind(place).unwrap();
                fs::set_permissions(place, Permissions::from_mode(0o777)).unwrap();
                listener
            })
            .collect();
        let gateway = setup.env("XDG_RUNTIME_DIR", runtime.to_str().unwrap()).spawn();
        let mut client = gateway.client();
        for (key, place) in places.iter().enumerate() {
            let connect = format!(
                "python3 -c \"import socket; socket.socket(1).connect('{}'); print('connected')\"",
                place.display()
            );
            assert_eq!(outside(&gateway, &connect), "connected", "{}", place.display());
            let said = shell(&mut client, &connect, &key.to_string());
            assert!(said.contains("Error"), "{}: {said}", place.display());
        }
        drop(listeners);
        for place in places.iter().filter(|place| !place.starts_with(gateway.setup().scratch())) {
            let _ = fs::remove_dir_all(place.parent().unwrap());
        }
    }
}

/// What a shell of the same user says that is not in the sandbox.
fn outside(gateway: &Gateway, command: &str) -> String {
    let mut argv = if gateway.setup().is_by_ordinary_user() { process::ordinary_user() } else { Vec::new() };
    argv.extend(["sh", "-c", command].map(str::to_owned));
    let args: Vec<&str> = argv[1..].iter().map(String::as_str).collect();
    String::from_utf8(process::run(&argv[0], &args).stdout).unwrap().trim().to_owned()
}

#[test]
fn what_is_hidden_is_not_there_wherever_it_lies() {
    for setup in for_everybody("walls-hidden") {
        let home = home(&setup);
        let [ssh, vault, file] = [".ssh/id", "clawdis/vault/id", "secret.txt"].map(|name| home.join(name));
        let beside = setup.scratch().join("disk/id");
        let open = home.join("open.txt");
        for path in [&ssh, &vault, &file, &beside, &open] {
            lay(path);
        }
        symlink(beside.parent().unwrap(), home.join("link")).unwrap();
        let hidden = json!(["~/.ssh", "~/clawdis/vault", "~/secret.txt", "~/link", "~/missing"]);
        let gateway = setup.config(json!({ "agent": { "hidden": hidden } })).spawn();
        let mut client = gateway.client();
        let read = |path: &Path| format!("cat {}", path.display());
        assert_eq!(shell(&mut client, &read(&open), "open"), "swordfish", "the others for no other reason");
        for (key, path) in [&ssh, &vault, &file, &beside, &home.join("link/id")].iter().enumerate() {
            let said = shell(&mut client, &read(path), &key.to_string());
            assert!(!said.contains("swordfish"), "{}: {said}", path.display());
        }
        shell(
            &mut client,
            "mv vault aside; cd ..; mv .ssh aside; rm -rf secret.txt .ssh clawdis/vault",
            "move",
        );
        assert!([&ssh, &vault, &file].iter().all(|path| path.exists()));
    }
}

#[test]
fn what_may_be_written_is_given_and_the_rest_of_it_stays_hidden() {
    for setup in for_everybody("walls-writable") {
        let folder = setup.scratch();
        let [given, file, pi, own] = ["given", "file", "home/.pi", "pi"].map(|name| folder.join(name));
        for path in [&given, &pi, &own] {
            fs::create_dir_all(path).unwrap();
        }
        fs::write(&file, "").unwrap();
        symlink(&given, folder.join("link")).unwrap();
        let probe = folder.join("probe");
        let members = json!({ "agent": {
            "writable": [probe, folder.join("link"), file, folder.join("later")],
            "env": { "PI_CODING_AGENT_DIR": own },
        } });
        let gateway = setup.config(members).spawn();
        let mut client = gateway.client();
        for (key, place) in [given.join("a"), file, pi.join("auth.json"), own.join("b")].iter().enumerate() {
            shell(&mut client, &format!("echo mine > {}", place.display()), &key.to_string());
            assert_eq!(fs::read_to_string(place).unwrap(), "mine\n", "{}", place.display());
        }
        let temporary =
            "echo $TMPDIR; mktemp; touch /tmp/clawdis-walls /var/tmp/clawdis-walls && echo private";
        let said = shell(&mut client, temporary, "tmp");
        assert!(said.starts_with("/tmp\n/tmp/") && said.ends_with("private"), "{said}");
        assert!(!Path::new("/tmp/clawdis-walls").exists() && !Path::new("/var/tmp/clawdis-walls").exists());
        // Names are resolved as outside.
        let names = "cat /etc/resolv.conf /etc/hosts; getent hosts localhost";
        assert_eq!(shell(&mut client, names, "names"), outside(&gateway, names));
    }
}

#[test]
fn a_folder_above_what_is_hidden_cannot_be_moved_away() {
    for setup in for_everybody("walls-above") {
        let folder = setup.scratch().join("given");
        let [state, token, key] = ["a/b/state", "c/d/token", "e/f/key"].map(|name| folder.join(name));
        lay(&token);
        lay(&key);
        let members = json!({ "agent": { "cwd": folder, "hidden": [key.parent().unwrap()] } });
        let setup = setup.config(members).in_state_dir(&state).clients_say("swordfish");
        let gateway = setup.arg("--token-file").arg(&token.display().to_string()).spawn();
        fs::write(state.join("canary"), "swordfish").unwrap();
        let mut client = gateway.client();
        let moves = "for x in a/b/state a/b a c/d/token c/d c e/f e; do mv $x ${x}2; rm -rf $x; done; ln -s / a/b2; grep -r swordfish .";
        let said = shell(&mut client, moves, "1");
        assert!(!said.contains("swordfish"), "{said}");
        assert!([&state.join("canary"), &token, &key].iter().all(|path| path.exists()));
        assert_eq!(shell(&mut client, "mkdir x && mv x y && echo moved", "2"), "moved");
    }
}

#[test]
fn folders_that_would_give_the_agent_the_gateway_are_refused_by_their_key() {
    let state = "STATE";
    let rows = [
        ("cwd", json!("/"), "agent.cwd"),
        ("cwd", json!(state), "agent.cwd"),
        ("cwd", json!(format!("{state}/agent")), "agent.cwd"),
        ("cwd", json!("~/missing"), "agent.cwd"),
        ("cwd", json!("~/to-state"), "agent.cwd"),
        ("writable", json!(["/"]), "agent.writable"),
        ("writable", json!(["/dev"]), "agent.writable"),
        ("writable", json!(["/etc", "/proc/self"]), "agent.writable"),
        ("writable", json!([state]), "agent.writable"),
        ("writable", json!(["~/to-state"]), "agent.writable"),
        ("writable", json!(["relative"]), "agent.writable"),
        ("hidden", json!(["relative"]), "agent.hidden"),
    ];
    for (name, value, key) in rows {
        let setup = Gateway::builder_in_view("walls-refused").agent_scripted();
        let state_dir = setup.state_dir();
        fs::create_dir_all(state_dir.join("agent")).unwrap();
        symlink(&state_dir, home(&setup).join("to-state")).unwrap();
        let value: Value =
            serde_json::from_str(&value.to_string().replace(state, state_dir.to_str().unwrap())).unwrap();
        let setup = setup.config(json!({ "agent": { "sandbox": "auto", name: value } }));
        setup.run_to_exit().expect(2, &[key]);
    }
}

#[test]
fn a_working_folder_that_is_a_link_is_the_one_that_it_leads_to() {
    for setup in for_everybody("walls-link") {
        let disk = setup.scratch().join("disk");
        fs::create_dir(&disk).unwrap();
        symlink(&disk, home(&setup).join("clawdis")).unwrap();
        let gateway = setup.spawn();
        let mut client = gateway.client();
        assert_eq!(shell(&mut client, "touch made; pwd -P", "1"), disk.to_str().unwrap());
        assert!(disk.join("made").exists());
    }
}

/// What was written before there was a working folder.
const OLDER_JOURNAL: &str = "ef583d3f {\"journal\":1}
32b7d682 {\"put\":{\"slot\":\"toggles\",\"value\":{\"heartbeats\":true,\"paused\":false,\"channels\":{}}}}
";

#[test]
fn a_state_folder_from_before_keeps_the_home_with_a_warning() {
    for setup in for_everybody("walls-before") {
        keeps_the_home_with_a_warning(&setup);
    }
}

fn keeps_the_home_with_a_warning(setup: &Builder) {
    let home = home(setup);
    let warnings = |client: &mut Client| {
        let warnings = client.ask("status", &json!({}))["warnings"].clone();
        warnings.as_array().unwrap().iter().map(|warning| warning["code"].clone()).collect::<Vec<_>>()
    };
    fs::create_dir_all(setup.state_dir()).unwrap();
    fs::write(setup.state_dir().join("journal"), OLDER_JOURNAL).unwrap();
    for _ in 0..2 {
        let gateway = setup.clone().spawn();
        let mut client = gateway.client();
        assert_eq!(shell(&mut client, "pwd", "2"), home.to_str().unwrap());
        assert!(warnings(&mut client).contains(&json!("cwd-home")));
        assert!(!home.join("clawdis").exists());
    }
    // Named, it is another folder, and the warning goes.
    fs::create_dir(home.join("own")).unwrap();
    let gateway = setup.clone().config(json!({ "agent": { "cwd": "~/own" } })).spawn();
    assert!(!warnings(&mut gateway.client()).contains(&json!("cwd-home")));
    drop(gateway);
    // A new state folder has a folder of its own, after a restart as well, and no warning.
    let setup = setup.clone().in_state_dir(&setup.scratch().join("new"));
    for key in ["3", "4"] {
        let gateway = setup.clone().spawn();
        let mut client = gateway.client();
        assert_eq!(shell(&mut client, "pwd", key), home.join("clawdis").to_str().unwrap());
        assert!(!warnings(&mut client).contains(&json!("cwd-home")));
    }
    let setup = setup.config(json!({ "agent": { "cwd": "~" } }));
    assert!(warnings(&mut setup.spawn().client()).contains(&json!("cwd-home")));
}

#[test]
fn the_first_snapshot_knows_the_sandbox() {
    for setup in for_everybody("walls-early") {
        for kind in ["bwrap", "none"] {
            let setup = setup.clone().config(json!({ "agent": { "sandbox": kind } }));
            for _ in 0..5 {
                let gateway = setup.clone().spawn();
                let client = gateway.client();
                let agent = &client.hello["snapshot"]["health"]["agent"];
                assert_eq!(agent["sandbox"], kind);
                assert_eq!(agent.get("sandboxReason").is_some(), kind == "none", "{agent}");
            }
        }
    }
}

#[test]
fn names_are_found_where_their_settings_are_links_into_run() {
    if !geteuid().is_root() {
        return;
    }
    for setup in for_everybody("walls-names") {
        names_are_found(setup);
    }
}

fn names_are_found(setup: Builder) {
    let folder = setup.scratch();
    let [run, etc] = ["run", "etc"].map(|name| folder.join(name).display().to_string());
    let settings = "/run/systemd/resolve/stub-resolv.conf";
    let steps = [
        format!("cp -a /etc {etc} && ln -sf {settings} {etc}/resolv.conf"),
        format!(
            "mkdir -p {run}/systemd/resolve && echo nameserver 192.0.2.1 > {run}/systemd/resolve/stub-resolv.conf"
        ),
        format!("touch {run}/secret && mount --bind {run} /run && mount --bind {etc} /etc && exec \"$@\""),
    ];
    let gateway = setup.wrapper(["unshare", "-m", "sh", "-c", &steps.join(" && "), "sh"]).spawn();
    let mut client = gateway.client();
    assert_eq!(shell(&mut client, "cat /etc/resolv.conf", "1"), "nameserver 192.0.2.1");
    assert_eq!(shell(&mut client, "find /run -type f", "2"), settings);
    assert!(!shell(&mut client, &format!("echo x > {settings} && echo written"), "3").contains("written"));
}

/// A mount namespace in which bubblewrap is this script.
fn with_bubblewrap(setup: Builder, script: &str) -> Builder {
    let [text, stand_in] = ["text", "bwrap"].map(|name| setup.scratch().join(name));
    fs::write(&text, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&text, Permissions::from_mode(0o755)).unwrap();
    process::copy_program(&text, &stand_in);
    let real = fs::canonicalize("/usr/bin/bwrap").unwrap();
    let [stand_in, real] = [&stand_in, &real].map(|path| path.display());
    // Root's as the real one is, also in the folder of an ordinary user.
    let mount = format!("chown 0:0 {stand_in} && mount --bind {stand_in} {real} && exec \"$@\"");
    let flags = if geteuid().is_root() { "-m" } else { "-rm" };
    setup.wrapper(["unshare", flags, "sh", "-c", &mount, "sh"])
}

/// What health says of such a bubblewrap, and what a run's error says, if it is one; for each kind of
/// user.
fn tried(name: &str, script: &str, wanted: &str) -> Vec<(Value, Option<String>)> {
    let tried = |setup: Builder| {
        let setup = setup.config(json!({ "agent": { "sandbox": wanted } }));
        let gateway = with_bubblewrap(setup, script).spawn();
        let mut client = gateway.client();
        let agent = eventually("bubblewrap's trial", PATIENCE, || {
            let agent = agent_health(&mut client);
            (!agent.to_string().contains("still being tried")).then_some(agent)
        });
        let warnings = client.ask("status", &json!({}))["warnings"].clone();
        let warning = warnings.as_array().unwrap().iter().find(|warning| warning["code"] == "no-sandbox");
        assert_eq!(warning.map(|warning| &warning["message"]), agent.get("sandboxReason"));
        let last = client.outcome(&params_agent("hello", "1"));
        (agent, last["error"]["message"].as_str().map(str::to_owned))
    };
    // At the same time: some take their time to fail.
    thread::scope(|scope| {
        let tries: Vec<_> =
            for_everybody(name).into_iter().map(|setup| scope.spawn(|| tried(setup))).collect();
        tries.into_iter().map(|each| each.join().unwrap()).collect()
    })
}

#[test]
fn a_bubblewrap_that_fails_is_quoted() {
    const WORDS: &str = "bwrap: No permissions to create a new namespace";
    // In a namespace of their own ordinary users see no file of root's.
    let expected = if geteuid().is_root() { WORDS } else { "others than root can change" };
    let script = format!("printf '\\033[1m{WORDS}\\n' >&2; exit 1");
    for (agent, failure) in tried("walls-words", &script, "auto") {
        let reason = agent["sandboxReason"].as_str().unwrap();
        assert!(agent["sandbox"] == "none" && reason.contains(expected), "{agent}");
        assert!(reason.contains("without a sandbox") && !reason.contains('\u{1b}'), "{reason}");
        assert_eq!(failure, None);
    }

    for (agent, failure) in tried("walls-demanded", &script, "bwrap") {
        let reason = agent["sandboxReason"].as_str().unwrap();
        assert!(agent["sandbox"] == "none" && reason.contains("no agent starts"), "{agent}");
        assert!(failure.unwrap().contains(expected));
    }
}

#[test]
fn a_bubblewrap_that_hangs_or_only_cannot_lay_out_the_folders_is_told_apart() {
    if !geteuid().is_root() {
        return;
    }
    // A busy machine is no reason to do without walls.
    let full = "echo 'bwrap: Creating new namespace failed: Resource temporarily unavailable' >&2; exit 1";
    for (script, words) in [("exec sleep 60", "2 s"), (full, "temporarily unavailable")] {
        for (agent, failure) in tried("walls-busy", script, "auto") {
            let reason = agent["sandboxReason"].as_str().unwrap();
            assert!(reason.contains(words) && reason.contains("no agent starts"), "{reason}");
            assert!(failure.unwrap().contains(words));
        }
    }
    // An agent may have brought this about, so it is no reason to do without.
    let script = "case \"$*\" in *--chdir*) echo 'bwrap: Cannot mount x' >&2; exit 1;; esac";
    for (agent, failure) in tried("walls-layout", script, "auto") {
        let reason = agent["sandboxReason"].as_str().unwrap();
        assert!(reason.contains("bwrap: Cannot mount x") && reason.contains("no agent starts"), "{reason}");
        assert!(failure.unwrap().contains("bwrap: Cannot mount x"));
    }
    // It works at the start and fails later.
    let script = "case \"$*\" in *--version) exit 0;; esac; echo 'bwrap: out of memory' >&2; exit 1";
    for (agent, failure) in tried("walls-later", script, "auto") {
        assert_eq!(agent["sandbox"], "bwrap");
        assert!(failure.unwrap().contains("bwrap: out of memory"));
    }
}

#[test]
fn a_program_that_is_not_there_is_said_to_be_missing() {
    let setup = Gateway::builder_in_view("walls-program").config(json!({ "agent": { "sandbox": "bwrap" } }));
    let gateway = setup.arg("--agent").arg("[\"clawdis-no-such-program\"]").spawn();
    let last = gateway.client().outcome(&params_agent("hello", "1"));
    let message = last["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("`clawdis-no-such-program`: No such file") && message.contains("install it"),
        "{message}"
    );
}
