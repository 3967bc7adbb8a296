//! What the agent's tools can reach of the gateway: nothing but their own session.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use serde_json::json;

use crate::agent::walls::for_everybody;
use crate::harness::gateway::Builder;
use crate::harness::{Client, PATIENCE, params_agent};

/// What a shell of the agent says.
pub(crate) fn shell(client: &mut Client, command: &str, key: &str) -> String {
    let last = client.outcome(&params_agent(&format!("[[sh {command}]]"), key));
    last["payload"]["summary"].as_str().unwrap_or_else(|| panic!("{last}")).to_owned()
}

#[test]
fn the_agent_reaches_neither_the_state_folder_nor_the_config_nor_our_processes() {
    for setup in for_everybody("sandbox") {
        reaches_only_its_own(setup);
    }
}

fn reaches_only_its_own(setup: Builder) {
    let gateway = setup.spawn();
    let state = gateway.state_dir();
    fs::write(state.join("canary"), "swordfish").unwrap();
    let mut client = gateway.client();
    let state = state.display();
    assert!(!shell(&mut client, &format!("cat {state}/canary"), "1").contains("swordfish"));
    assert!(
        !shell(&mut client, &format!("grep -r swordfish {state}; ls {state}/.."), "2").contains("swordfish:")
    );
    assert_eq!(
        shell(&mut client, &format!("ls {state}"), "3"),
        "agent\nmedia",
        "its own session's folders and nothing else"
    );
    shell(&mut client, &format!("echo '{{}}' > {state}/clawdis.json; rm -rf {state}/journal"), "4");
    assert!(gateway.state_dir().join("journal").exists(), "what it writes there is not there");
    let environ = shell(&mut client, &format!("tr '\\0' ' ' < /proc/{}/environ", gateway.pid()), "5");
    assert!(environ.contains("cannot open") || environ.contains("No such file"), "{environ}");
    assert_eq!(
        shell(&mut client, &format!("kill -0 {} || echo unseen", gateway.pid()), "6").lines().last(),
        Some("unseen")
    );
    // The rest of the machine is there, and its own session file can be written.
    assert!(shell(&mut client, "ls /usr/bin/env", "7").contains("/usr/bin/env"));
    let own = shell(&mut client, &format!("cd {state}/agent/*/ && touch mine && echo written"), "8");
    assert_eq!(own, "written");
}

#[test]
fn what_people_sent_can_be_read_and_not_changed() {
    for setup in for_everybody("sandbox-media") {
        let gateway = setup.spawn();
        let mut client = gateway.client();
        let media = gateway.state_dir().join("media");
        // The first run makes the folder; what comes later is seen by the same process.
        let inside = format!("{}/*", media.display());
        assert_eq!(shell(&mut client, &format!("ls {inside}"), "1"), "exit 0");
        let own = fs::read_dir(&media).unwrap().next().unwrap().unwrap().path();
        let other = media.join("another-session");
        fs::create_dir(&other).unwrap();
        for folder in [&own, &other] {
            fs::write(folder.join("0-file.txt"), "swordfish").unwrap();
            fs::set_permissions(folder.join("0-file.txt"), fs::Permissions::from_mode(0o644)).unwrap();
        }
        assert_eq!(shell(&mut client, &format!("cat {inside}/0-file.txt"), "2"), "swordfish");
        let change =
            "echo x > 0-file.txt; rm -f 0-file.txt; mv 0-file.txt a; ln -s /etc/passwd b; mkdir c; touch d";
        shell(&mut client, &format!("cd {inside}; {change}; cd ..; rm -rf *; ln -s / e"), "3");
        assert_eq!(fs::read_to_string(own.join("0-file.txt")).unwrap(), "swordfish");
        assert_eq!(fs::read_dir(&own).unwrap().count(), 1);
        assert_eq!(fs::read_dir(&media).unwrap().count(), 2);
    }
}

#[test]
fn a_config_outside_of_the_state_folder_cannot_be_read_or_changed_either() {
    for setup in for_everybody("sandbox-config") {
        // The harness keeps the config beside the state folder.
        let gateway = setup.config(json!({ "agent": { "warmSeconds": 299 } })).spawn();
        let config = gateway.state_dir().parent().unwrap().join("config.json");
        let mut client = gateway.client();
        let path = config.display();
        assert!(!shell(&mut client, &format!("cat {path}"), "1").contains("299"));
        let change = format!("echo hacked > {path}; rm -f {path}; mv {path} {path}.old");
        let said = shell(&mut client, &change, "2");
        assert!(fs::read_to_string(&config).unwrap().contains("299"), "{said}");
    }
}

#[test]
fn links_to_the_state_folder_and_the_config_hide_what_they_lead_to() {
    for setup in for_everybody("sandbox-links") {
        let folder = setup.scratch();
        let [real, link] = ["disk", "state"].map(|name| folder.join(name));
        fs::create_dir(&real).unwrap();
        fs::set_permissions(&real, fs::Permissions::from_mode(0o700)).unwrap();
        symlink(&real, &link).unwrap();
        let config = folder.join("dotfiles.json");
        symlink(&config, folder.join("config.json")).unwrap();
        let setup = setup.config(json!({ "agent": { "warmSeconds": 299 } }));
        let gateway = setup.in_state_dir(&link).spawn();
        fs::write(real.join("canary"), "swordfish").unwrap();
        let mut client = gateway.client();
        for (key, path) in [real.join("canary"), link.join("canary"), config].iter().enumerate() {
            let said = shell(&mut client, &format!("cat {}", path.display()), &key.to_string());
            assert!(!said.contains("swordfish") && !said.contains("299"), "{}: {said}", path.display());
        }
        let touch = format!("cd {}/agent/*/ && touch mine && echo written", link.display());
        assert_eq!(shell(&mut client, &touch, "own"), "written");
    }
}

#[test]
fn files_of_tokens_cannot_be_read_either() {
    for setup in for_everybody("sandbox-tokens") {
        let files = ["client", "bot"].map(|name| setup.scratch().join(name));
        for (file, token) in files.iter().zip(["swordfish-1", "42:swordfish-2"]) {
            fs::write(file, token).unwrap();
            fs::set_permissions(file, fs::Permissions::from_mode(0o600)).unwrap();
        }
        let setup = setup.config(json!({ "telegram": { "enabled": false, "botTokenFile": files[1] } }));
        let setup = setup.arg("--token-file").arg(&files[0].display().to_string());
        let gateway = setup.clients_say("swordfish-1").spawn();
        let mut client = gateway.client();
        for (key, file) in files.iter().enumerate() {
            let said = shell(&mut client, &format!("cat {}", file.display()), &key.to_string());
            assert!(!said.contains("swordfish"), "{said}");
        }
    }
}

/// Bubblewrap ends a moment before what it has started.
#[test]
fn a_trial_leaves_nothing_behind_that_is_warned_of() {
    for setup in for_everybody("sandbox-trial") {
        for _ in 0..5 {
            let mut gateway = setup.clone().config(json!({ "agent": { "sandbox": "bwrap" } })).spawn();
            gateway.client();
            gateway.sigterm();
            gateway.wait_exit(PATIENCE);
            gateway.output.wait_for("stopped", PATIENCE);
            let said = gateway.output.out();
            assert!(!said.contains("left processes behind"), "{said}");
        }
    }
}
