//! Command lines as people type them.

use std::ffi::OsString;

use super::{FLAGS, Flags, HELP, without_token};
use crate::arguments::Invocation;
use crate::logging::LogFormat;

fn args(line: &[&str]) -> Vec<OsString> {
    line.iter().map(OsString::from).collect()
}

fn run(line: &[&str]) -> Flags {
    match Flags::parse(args(line)) {
        Ok(Invocation::Run(flags)) => flags,
        Ok(_) => panic!("{line:?} asks for a text"),
        Err(error) => panic!("{line:?}: {error}"),
    }
}

fn error(line: &[&str]) -> String {
    Flags::parse(args(line)).err().unwrap_or_else(|| panic!("{line:?} should be refused")).0
}

#[test]
fn every_flag_arrives() {
    let flags = run(&[
        "--port",
        "0",
        "--bind=127.0.0.1",
        "--bind",
        "[::1]",
        "--bind",
        "localhost",
        "--token-file",
        "f",
        "--config",
        "c",
        "--state-dir",
        "s",
        "--agent",
        "[\"a\",\"--b=c\"]",
        "--tick-interval-ms",
        "100",
        "--max-clients",
        "5",
        "--log-format",
        "json",
        "-v",
        "--verbose",
        "-vv",
    ]);
    assert_eq!(flags.port, Some(0));
    let bind: Vec<String> = flags.bind.iter().map(ToString::to_string).collect();
    assert_eq!(bind, ["127.0.0.1", "::1", "127.0.0.1"]);
    assert_eq!(flags.token_file.unwrap().to_str(), Some("f"));
    assert_eq!(flags.config.unwrap().to_str(), Some("c"));
    assert_eq!(flags.state_dir.unwrap().to_str(), Some("s"));
    assert_eq!(flags.agent.as_deref(), Some("[\"a\",\"--b=c\"]"));
    assert_eq!((flags.tick_interval_ms, flags.max_clients), (Some(100), Some(5)));
    assert_eq!((flags.log_format, flags.verbose), (LogFormat::Json, true));
    assert!(run(&["-v"]).verbose && run(&["-vv"]).verbose);
    assert!(run(&["--token", "t"]).token.unwrap().matches("t"));
    assert!(run(&["--token=--a=b"]).token.unwrap().matches("--a=b"));
    assert!(run(&["--token", "--port=1"]).token.unwrap().matches("--port=1"));
    assert_eq!(run(&["--config=a=b"]).config.unwrap().to_str(), Some("a=b"));
    let none = run(&[]);
    assert!(none.port.is_none() && none.bind.is_empty() && none.token.is_none());
    assert_eq!((none.log_format, none.verbose), (LogFormat::Text, false));
}

#[test]
fn texts_are_asked_for() {
    for line in [&["--help"][..], &["-h"], &["--port", "x", "--help"]] {
        let Ok(Invocation::Say(text)) = Flags::parse(args(line)) else { panic!("{line:?}") };
        assert_eq!(text, HELP);
    }
    let Ok(Invocation::Say(text)) = Flags::parse(args(&["--version"])) else { panic!("no version") };
    assert!(text.starts_with("clawdis-gateway "));
}

#[test]
fn the_help_lists_every_flag() {
    for flag in FLAGS {
        let names = flag.short.map_or_else(String::new, |short| format!("{short}, ")) + &flag.with_value();
        assert!(HELP.contains(&format!("\n  {names:<22}")), "{names}");
    }
}

#[test]
fn bad_lines() {
    for (line, text) in [
        (&["--prot", "1"][..], "unknown flag `--prot`; did you mean `--port`?"),
        (&["--tokn=s3cret"], "unknown flag `--tokn`; did you mean `--token`?"),
        (&["--xyzzy"], "unknown flag `--xyzzy`; `--help` lists them"),
        (&["--port"], "`--port` needs a value"),
        (&["--port", "65536"], "`--port` needs a number from 0 to 65535"),
        (&["--port", "1", "--port", "2"], "`--port` is given twice, or with a value that it does not take"),
        (&["--bind", "example.org"], "`--bind` needs an IP address such as 127.0.0.1 or ::1, without a port"),
        (
            &["--bind", "127.0.0.1:80"],
            "`--bind` needs an IP address such as 127.0.0.1 or ::1, without a port",
        ),
        (&["--config="], "`--config` needs a value"),
        (&["--tick-interval-ms", "99"], "`--tick-interval-ms` needs a number from 100 to 86400000"),
        (&["--max-clients", "0"], "`--max-clients` needs a number from 1 to 65535"),
        (&["--log-format", "xml"], "`--log-format` needs `text` or `json`"),
        (
            &["--token", "a", "--token-file", "b"],
            "`--token` and `--token-file` exclude each other: give one of them",
        ),
        (&["s3cret"], "only flags are expected (`--help` lists them), but there is another argument"),
    ] {
        assert_eq!(error(line), text, "{line:?}");
    }
}

#[test]
fn the_token_leaves_the_command_line() {
    for (line, kept) in [
        (&["--port", "1", "--token", "s", "-v"][..], &["--port", "1", "-v"][..]),
        (&["--token=s", "--token-file", "f"], &["--token-file", "f"]),
        (&["--token"], &[]),
        (&["-v"], &["-v"]),
    ] {
        assert_eq!(without_token(&args(line)), args(kept), "{line:?}");
    }
}
