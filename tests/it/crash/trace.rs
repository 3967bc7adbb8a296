//! What a process tree did to its files and sockets, read from the record that strace made.
//!
//! Knows strace's text and nothing of what the calls mean to anybody.

use std::collections::HashMap;
use std::path::Path;

/// Calls that change files, make them durable, or talk over sockets. Those that the model of the
/// disk does not know are recorded too, so that their first use fails a test.
const CALLS: &str = "openat,open,creat,write,writev,pwrite64,pwritev,fsync,fdatasync,sync_file_range,syncfs,\
    rename,renameat,renameat2,ftruncate,truncate,fallocate,unlink,unlinkat,rmdir,mkdir,mkdirat,link,linkat,\
    symlink,symlinkat,copy_file_range,sendfile,lseek,sendto,sendmsg,recvfrom";

/// An open file as a call names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Handle {
    pub(crate) fd: i32,
    pub(crate) path: String,
}

/// One successful call.
#[derive(Debug, PartialEq)]
pub(crate) enum Call {
    Open {
        handle: Handle,
        create: bool,
        truncate: bool,
        append: bool,
    },
    Seek {
        handle: Handle,
        to: u64,
    },
    Write {
        handle: Handle,
        bytes: Vec<u8>,
    },
    WriteAt {
        handle: Handle,
        bytes: Vec<u8>,
        at: u64,
    },
    Resize {
        handle: Handle,
        len: u64,
    },
    Sync {
        path: String,
        data_only: bool,
    },
    Rename {
        from: String,
        to: String,
    },
    Remove {
        path: String,
    },
    MakeFolder {
        path: String,
    },
    Received {
        socket: String,
        bytes: Vec<u8>,
    },
    Sent {
        socket: String,
        bytes: Vec<u8>,
    },
    /// Something about this path that this module has no words for.
    Other {
        name: String,
        path: String,
    },
}

/// The program and its arguments that record what the following program does, into `file`. With
/// `kill_at`, a call's name and a number, that very call of a thread is its process's last.
pub(crate) fn recorder(file: &Path, kill_at: Option<(&str, u32)>) -> Vec<String> {
    let mut argv: Vec<String> =
        ["strace", "-D", "-f", "-y", "-qq", "-xx", "-s", "100000000"].map(str::to_owned).into();
    argv.extend(["-e", "signal=none", "-e"].map(str::to_owned));
    argv.push(format!("trace={CALLS}"));
    if let Some((call, number)) = kill_at {
        argv.extend(["-e".to_owned(), format!("inject={call}:signal=KILL:when={number}")]);
    } else {
        // Much faster, but then strace cannot send signals.
        argv.push("--seccomp-bpf".to_owned());
    }
    argv.extend(["-o".to_owned(), file.to_str().unwrap().to_owned()]);
    argv
}

/// The calls in the order in which they count: what is sent counts from the call's beginning,
/// since a peer may have it from then on; everything else from its end.
pub(crate) fn parse(text: &str) -> Vec<Call> {
    let mut unfinished: HashMap<&str, (usize, &str)> = HashMap::new();
    let mut calls: Vec<(usize, Call)> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let (pid, rest) = line.split_once(' ').unwrap_or((line, ""));
        let rest = rest.trim_start();
        let (begun, whole) = if let Some(head) = rest.strip_suffix(" <unfinished ...>") {
            unfinished.insert(pid, (number, head));
            continue;
        } else if let Some(tail) = rest.strip_prefix("<... ").and_then(|tail| tail.split_once(" resumed>")) {
            let Some((begun, head)) = unfinished.remove(pid) else { continue };
            (begun, format!("{head}{}", tail.1))
        } else {
            (number, rest.to_owned())
        };
        if let Some(call) = parse_call(&whole) {
            let counts_from = if matches!(call, Call::Sent { .. }) { begun } else { number };
            calls.push((counts_from, call));
        }
    }
    calls.sort_by_key(|(at, _)| *at);
    calls.into_iter().map(|(_, call)| call).collect()
}

fn parse_call(text: &str) -> Option<Call> {
    let (name, rest) = text.split_once('(')?;
    let (args, result) = rest.rsplit_once(" = ")?;
    let args = args.trim_end().strip_suffix(')')?;
    let count: i64 = result.split(['<', ' ']).next()?.parse().ok()?;
    if count < 0 {
        return None;
    }
    let args: Vec<&str> = args.split(", ").collect();
    let number = |at: usize| args.get(at).and_then(|arg| arg.parse::<u64>().ok()).unwrap_or(0);
    let handle = || handle(args[0]);
    let bytes = |quoted: &str| {
        let mut bytes = unhex(quoted.trim_matches('"'));
        bytes.truncate(usize::try_from(count).unwrap());
        bytes
    };
    Some(match name {
        "openat" => {
            let flags = args[2];
            let path = path_at(args[0], args[1]);
            Call::Open {
                handle: Handle { fd: i32::try_from(count).unwrap(), path },
                create: flags.contains("O_CREAT"),
                truncate: flags.contains("O_TRUNC"),
                append: flags.contains("O_APPEND"),
            }
        }
        "lseek" => Call::Seek { handle: handle()?, to: u64::try_from(count).unwrap() },
        "write" => Call::Write { bytes: bytes(args[1]), handle: handle()? },
        "pwrite64" => Call::WriteAt { bytes: bytes(args[1]), at: number(3), handle: handle()? },
        "ftruncate" => Call::Resize { handle: handle()?, len: number(1) },
        "fsync" | "fdatasync" => Call::Sync { path: handle()?.path, data_only: name == "fdatasync" },
        "rename" => Call::Rename { from: quoted(args[0]), to: quoted(args[1]) },
        "renameat" | "renameat2" => {
            Call::Rename { from: path_at(args[0], args[1]), to: path_at(args[2], args[3]) }
        }
        "unlink" | "rmdir" => Call::Remove { path: quoted(args[0]) },
        "unlinkat" => Call::Remove { path: path_at(args[0], args[1]) },
        "mkdir" => Call::MakeFolder { path: quoted(args[0]) },
        "mkdirat" => Call::MakeFolder { path: path_at(args[0], args[1]) },
        "sendto" => Call::Sent { socket: handle()?.path, bytes: bytes(args[1]) },
        "recvfrom" => Call::Received { socket: handle()?.path, bytes: bytes(args[1]) },
        "sendmsg" => {
            let pieces = args.iter().filter_map(|arg| arg.split_once("iov_base=\""));
            let joined: String = pieces.map(|(_, piece)| piece.trim_end_matches('"')).collect();
            Call::Sent { socket: handle()?.path, bytes: bytes(&joined) }
        }
        other => {
            let named = args.iter().find(|arg| arg.contains('"')).map(|arg| quoted(arg));
            let path = handle().map(|handle| handle.path).or(named).unwrap_or_default();
            Call::Other { name: other.to_owned(), path }
        }
    })
}

/// `7</a/path>`, in hex.
fn handle(arg: &str) -> Option<Handle> {
    let (fd, path) = arg.split_once('<')?;
    let path = unhex(path.split_once('>')?.0);
    Some(Handle { fd: fd.parse().ok()?, path: String::from_utf8(path).ok()? })
}

fn quoted(arg: &str) -> String {
    String::from_utf8(unhex(arg.trim_matches('"'))).unwrap()
}

fn path_at(folder: &str, name: &str) -> String {
    let (name, folder) = (quoted(name), folder.split_once('<').and_then(|(_, path)| path.split_once('>')));
    match folder {
        Some((folder, _)) if !name.starts_with('/') => {
            let folder = String::from_utf8(unhex(folder)).unwrap();
            match name.as_str() {
                "." => folder,
                ".." => folder.rsplit_once('/').map_or(folder.clone(), |(parent, _)| parent.to_owned()),
                name => format!("{folder}/{name}"),
            }
        }
        _ => name,
    }
}

/// `\x41B` as `AB`: strace escapes every byte of data and, depending on its version, of paths.
fn unhex(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len() / 4), text.as_bytes());
    while let Some((first, more)) = rest.split_first() {
        if let (b'\\', [b'x', high, low, ..]) = (first, more) {
            let digit = |digit: &u8| u8::try_from(char::from(*digit).to_digit(16).unwrap()).unwrap();
            bytes.push(digit(high) * 16 + digit(low));
            rest = &more[3..];
        } else {
            bytes.push(*first);
            rest = more;
        }
    }
    bytes
}

#[test]
fn calls_are_read_and_ordered_by_when_they_count() {
    let text = r#"7 openat(AT_FDCWD<\x2f\x64>, "\x2f\x61", O_WRONLY|O_CREAT|O_APPEND, 0600) = 5<\x2f\x61>
7 write(5<\x2f\x61>, "\x68\x69\x21", 3) = 2
8 sendmsg(9<socket:[1]>, {msg_name=NULL, msg_namelen=0, msg_iov=[{iov_base="\x41", iov_len=1}, {iov_base="\x42\x43", iov_len=2}], msg_iovlen=2, msg_flags=0}, MSG_DONTWAIT <unfinished ...>
7 fdatasync(5<\x2f\x61> <unfinished ...>
7 <... fdatasync resumed>) = 0
8 <... sendmsg resumed>) = 3
7 unlink("\x2f\x62") = -1 ENOENT (No such file or directory)
7 fsync(5<\x2f\x61>) = ?
7 +++ killed by SIGKILL +++
"#;
    let handle = Handle { fd: 5, path: "/a".to_owned() };
    let expected = [
        Call::Open { handle: handle.clone(), create: true, truncate: false, append: true },
        Call::Write { handle, bytes: b"hi".to_vec() },
        Call::Sent { socket: "socket:[1]".to_owned(), bytes: b"ABC".to_vec() },
        Call::Sync { path: "/a".to_owned(), data_only: true },
    ];
    let found = parse(text);
    assert_eq!(found, expected);
}
