//! The floor: the least that a thread-per-connection WebSocket server can do. It parses nothing,
//! keeps nothing and answers from prepared texts. What the gateway costs more than this is what
//! its features cost.
//!
//! Runs as a process of its own (`bench floor`), so that its memory and CPU can be told apart.

use std::collections::HashMap;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Message, Utf8Bytes};

use crate::Outcome;
use crate::wire::contains;

/// `!set NAME TEXT`: from now on `NAME` is answered with `TEXT`. Names are `hello` and methods.
pub(crate) const SET: &str = "!set ";
/// `!broadcast COUNT BYTES`: that many frames of that size to everybody.
pub(crate) const BROADCAST: &str = "!broadcast ";
/// Answers of a floor that was told nothing else.
const CANNED: [(&str, &str); 3] = [
    ("hello", r#"{"type":"hello-ok","protocol":1}"#),
    ("health", r#"{"type":"res","id":"00","ok":true,"payload":{"ok":true}}"#),
    ("system-presence", r#"{"type":"res","id":"00","ok":true,"payload":[]}"#),
];

#[derive(Default)]
struct Shared {
    canned: Mutex<HashMap<String, Utf8Bytes>>,
    everybody: Mutex<HashMap<u64, TcpStream>>,
}

/// Serves for ever on a port that the kernel chooses, announced as the gateway does it.
pub(crate) fn serve() -> Outcome<()> {
    // Whoever measures may be interrupted.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let listener = listen()?;
    let shared = Arc::new(Shared::default());
    for (name, text) in CANNED {
        lock(&shared.canned).insert(name.to_owned(), text.into());
    }
    writeln!(std::io::stdout(), "listening on ws://{}", listener.local_addr()?)?;
    for (stream, number) in listener.incoming().zip(0..) {
        let (stream, shared) = (stream?, Arc::clone(&shared));
        #[expect(clippy::disallowed_methods, reason = "the floor is bare on purpose")]
        std::thread::spawn(move || {
            // A client that goes away is no news here.
            let _ = connection(stream, number, &shared);
            lock(&shared.everybody).remove(&number);
        });
    }
    Ok(())
}

/// As std's `bind`, but with room for a burst: beyond 128 waiting connections std has the kernel
/// drop what a second of waiting then repairs, and the floor would look slow.
fn listen() -> Outcome<TcpListener> {
    use rustix::net::{AddressFamily, SocketType, bind, listen, socket};
    const BACKLOG: i32 = 4_096;
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddr::from(([127, 0, 0, 1], 0)))?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

fn connection(stream: TcpStream, number: u64, shared: &Shared) -> Outcome<()> {
    stream.set_nodelay(true)?;
    let writer = stream.try_clone()?;
    // The gateway's sizes: the default read buffer alone is 128 KiB.
    let config = WebSocketConfig::default()
        .read_buffer_size(4 * 1024)
        .write_buffer_size(0)
        .max_write_buffer_size(1024 * 1024)
        .max_message_size(Some(1024 * 1024))
        .max_frame_size(Some(1024 * 1024));
    let mut socket =
        tungstenite::accept_with_config(stream, Some(config)).map_err(|error| error.to_string())?;
    let mut writer = Some(writer);
    loop {
        let Message::Text(text) = socket.read()? else { continue };
        if let Some(order) = text.strip_prefix(SET) {
            let (name, answer) = order.split_once(' ').ok_or("`!set` without a text")?;
            lock(&shared.canned).insert(name.to_owned(), answer.into());
            continue;
        }
        if let Some(order) = text.strip_prefix(BROADCAST) {
            let (count, bytes) = order.split_once(' ').ok_or("`!broadcast` without a size")?;
            broadcast(shared, count.parse()?, bytes.parse()?)?;
            continue;
        }
        let name = asked(text.as_bytes());
        let answer = lock(&shared.canned).get(name).cloned().ok_or("nothing canned")?;
        socket.send(Message::Text(answer))?;
        if let Some(writer) = writer.take_if(|_| name == "hello") {
            lock(&shared.everybody).insert(number, writer);
        }
    }
}

/// Which canned answer a frame asks for.
fn asked(frame: &[u8]) -> &'static str {
    // The envelope comes first; nobody puts a method's name into an id here.
    let head = &frame[..frame.len().min(80)];
    if contains(head, b"\"hello\"") {
        "hello"
    } else if contains(head, b"\"system-presence\"") {
        "system-presence"
    } else {
        "health"
    }
}

/// One thread writes to everybody: the cheapest way there is (waking a thread costs more).
fn broadcast(shared: &Shared, count: usize, bytes: usize) -> Outcome<()> {
    let mut frame = vec![0x81, 126];
    frame.extend_from_slice(&u16::try_from(bytes)?.to_be_bytes());
    frame.resize(4 + bytes, b'x');
    let mut everybody = lock(&shared.everybody);
    for _ in 0..count {
        for stream in everybody.values_mut() {
            // One that has just gone is removed by its own thread.
            let _ = stream.write_all(&frame);
        }
    }
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
