//! A Bot API server over real sockets: real long polls with redelivery, the checks and words of
//! Telegram's, and every way to fail that a network or a server has.
//!
//! A test scripts what people write and what goes wrong, and looks at what came in. Rules that a
//! client breaks are collected and fail the test at its end. Knows nothing of the daemon.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

mod faults;
mod http;
mod methods;
mod updates;
mod world;

pub(crate) use faults::Fault;
use http::{Answer, Body, Connection, Head};
use methods::Refusal;
pub(crate) use world::{BOT_ID, BOT_NAME, Sent, TOKEN, World, now, utf16};

/// How long anything that should happen at once may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running server; ends with its owner.
pub(crate) struct BotApi {
    shared: Arc<Shared>,
    port: u16,
    accepting: Option<JoinHandle<()>>,
}

struct Shared {
    world: Mutex<World>,
    changed: Condvar,
    connections: Mutex<HashMap<u64, TcpStream>>,
}

/// A test that fails while it looks at the world must not take the others down with it.
impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a change, so long at most.
    fn wait<'a>(&self, world: MutexGuard<'a, World>, left: Duration) -> MutexGuard<'a, World> {
        self.changed.wait_timeout(world, left).unwrap_or_else(PoisonError::into_inner).0
    }
}

impl BotApi {
    pub(crate) fn start() -> Self {
        let shared = Shared {
            world: Mutex::new(World::new()),
            changed: Condvar::new(),
            connections: Mutex::new(HashMap::new()),
        };
        let mut api = Self { shared: Arc::new(shared), port: 0, accepting: None };
        api.up();
        api
    }

    /// Listens again, on the same port as before.
    pub(crate) fn up(&mut self) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)).expect("our own port is free");
        self.port = listener.local_addr().unwrap().port();
        self.shared.world().stopping = false;
        let shared = Arc::clone(&self.shared);
        self.accepting = Some(thread::spawn(move || accept(&listener, &shared)));
    }

    /// Hangs up on everybody and listens no more.
    pub(crate) fn down(&mut self) {
        self.with(|world| world.stopping = true);
        for stream in self.shared.connections.lock().unwrap().values() {
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        // Wakes the thread from its `accept`.
        let _ = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port));
        if let Some(accepting) = self.accepting.take() {
            accepting.join().unwrap();
        }
    }

    /// What `telegram.apiBase` is to be.
    pub(crate) fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Looks at or changes the world.
    pub(crate) fn with<T>(&self, change: impl FnOnce(&mut World) -> T) -> T {
        let result = change(&mut self.shared.world());
        self.shared.changed.notify_all();
        result
    }

    /// Waits until `look` finds something.
    #[track_caller]
    pub(crate) fn wait<T>(&self, what: &str, look: impl FnMut(&World) -> Option<T>) -> T {
        self.wait_within(what, PATIENCE, look)
    }

    #[track_caller]
    pub(crate) fn wait_within<T>(
        &self,
        what: &str,
        within: Duration,
        mut look: impl FnMut(&World) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + within;
        let mut world = self.shared.world();
        loop {
            if let Some(found) = look(&world) {
                return found;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let last: Vec<String> = world.requests.iter().rev().take(8).map(brief).collect();
                drop(world);
                panic!("waited {within:?} in vain for {what}; the last requests were {last:#?}");
            }
            world = self.shared.wait(world, left);
        }
    }

    /// Waits for so many messages in a chat and returns their texts.
    #[track_caller]
    pub(crate) fn answers(&self, chat: i64, count: usize) -> Vec<String> {
        let what = format!("{count} messages in chat {chat}");
        self.wait(&what, |world| (world.texts(chat).len() >= count).then(|| world.texts(chat)))
    }

    /// Waits until every update is confirmed.
    #[track_caller]
    pub(crate) fn confirmed(&self) {
        self.wait("the confirmation of all updates", |world| world.unconfirmed().is_empty().then_some(()));
    }

    /// A poll is under way and has nothing to bring.
    #[track_caller]
    pub(crate) fn polled(&self) {
        self.wait("a poll that waits", |world| (world.polls_waiting > 0).then_some(()));
    }
}
fn brief(request: &world::Request) -> String {
    let params = Value::Object(request.params.clone()).to_string();
    format!("{} {} {:?}", request.method, params.chars().take(200).collect::<String>(), request.fault)
}

impl Drop for BotApi {
    fn drop(&mut self) {
        self.down();
        let violations = std::mem::take(&mut self.shared.world().violations);
        if !thread::panicking() {
            assert!(violations.is_empty(), "the client broke rules of the Bot API: {violations:#?}");
        }
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for number in 0.. {
        let Ok((stream, _)) = listener.accept() else { continue };
        if shared.world().stopping {
            return;
        }
        let shared = Arc::clone(shared);
        shared.connections.lock().unwrap().insert(number, stream.try_clone().unwrap());
        thread::spawn(move || {
            let _ = serve(stream, &shared);
            shared.connections.lock().unwrap().remove(&number);
        });
    }
}

/// What follows the answer.
enum After {
    Go(Answer),
    Slowly(Answer, Duration),
    Half(Answer),
    Bytes(Vec<u8>),
    Reset,
    Hang,
}

fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    let mut connection = Connection::new(stream);
    while let Some(head) = connection.head()? {
        let (token, method, path) = parse_target(&head.target);
        let resets_unread = shared.world().resets_unread(&method);
        if resets_unread {
            shared.changed.notify_all();
            connection.reset();
            return Ok(());
        }
        let bytes = connection.body(&head)?;
        match respond(shared, &head, &bytes, &token, &method, &path) {
            After::Go(answer) => connection.answer(&answer, head.keep_alive)?,
            After::Slowly(answer, pause) => return connection.answer_slowly(&answer, pause),
            After::Half(answer) => return connection.answer_half(&answer),
            After::Bytes(bytes) => return connection.write(&bytes),
            After::Reset => {
                connection.reset();
                return Ok(());
            }
            After::Hang => {
                connection.hang();
                return Ok(());
            }
        }
        if !head.keep_alive {
            return Ok(());
        }
    }
    Ok(())
}

/// Token, method (`file` for a download) and the rest of the path; what is before `/bot` or
/// `/file/bot` is a base path.
fn parse_target(target: &str) -> (String, String, String) {
    let path = target.split('?').next().unwrap_or_default();
    if let Some((_, rest)) = path.split_once("/file/bot") {
        let (token, file) = rest.split_once('/').unwrap_or((rest, ""));
        return (token.to_owned(), "file".to_owned(), file.to_owned());
    }
    let rest = path.split_once("/bot").map_or("", |(_, rest)| rest);
    let (token, method) = rest.split_once('/').unwrap_or((rest, ""));
    (token.to_owned(), method.to_owned(), String::new())
}

fn respond(shared: &Shared, head: &Head, bytes: &[u8], token: &str, method: &str, path: &str) -> After {
    let decoded = http::decode(head, bytes);
    let fault = note(shared, method, decoded.as_ref().ok());
    let carry_out = || {
        let answer = answer(shared, decoded.as_ref(), token, method, path);
        shared.changed.notify_all();
        answer
    };
    match fault {
        None => After::Go(carry_out()),
        Some(Fault::Error(code, description)) => {
            After::Go(Answer::json(code, &Refusal::new(code, description).body()))
        }
        Some(Fault::RetryAfter(seconds)) => {
            let parameters = Some(json!({ "retry_after": seconds }));
            let text = format!("Too Many Requests: retry after {seconds}");
            After::Go(Answer::json(429, &Refusal { parameters, ..Refusal::new(429, &text) }.body()))
        }
        Some(Fault::Html(status)) => {
            let page =
                format!("<html>\r\n<head><title>{status}</title></head>\r\n<center>nginx</center></html>");
            After::Go(Answer::text(status, "text/html", page))
        }
        Some(Fault::Body(text)) => After::Go(Answer::text(200, "application/json", text)),
        Some(Fault::Bytes(bytes)) => After::Bytes(bytes),
        Some(Fault::Huge(length)) => {
            After::Go(Answer::text(200, "application/json", format!("[{}", " ".repeat(length))))
        }
        Some(Fault::Redirect(to)) => {
            let mut answer = Answer::text(302, "text/plain", String::new());
            answer.location = Some(to);
            After::Go(answer)
        }
        Some(Fault::Slow(pause)) => After::Slowly(carry_out(), pause),
        Some(Fault::HalfDone) => After::Half(carry_out()),
        Some(Fault::Hang) => After::Hang,
        Some(Fault::ResetDone) => {
            carry_out();
            After::Reset
        }
        Some(Fault::ResetRead | Fault::ResetUnread) => After::Reset,
    }
}

/// Puts the request on record and picks its fault.
fn note(shared: &Shared, method: &str, body: Option<&Body>) -> Option<Fault> {
    let mut world = shared.world();
    let params = body.map(|body| body.params.clone()).unwrap_or_default();
    let chat = world::chat_of(&params);
    let at = Instant::now();
    let sends = method.starts_with("send") && method != "sendChatAction";
    let early =
        sends && world.waits.iter().any(|(place, until)| at < *until && (place.is_none() || *place == chat));
    if early {
        world.violation(format!("{method} in {chat:?} before `retry_after` was over"));
    }
    let fault = world.take_fault(method, chat);
    if let (true, Some(Fault::RetryAfter(seconds))) = (sends, &fault) {
        let seconds = *seconds;
        world.must_wait(chat, seconds);
    }
    world.requests.push(world::Request { at, method: method.to_owned(), params, fault: fault.clone() });
    drop(world);
    shared.changed.notify_all();
    fault
}

fn answer(shared: &Shared, body: Result<&Body, &String>, token: &str, method: &str, path: &str) -> Answer {
    let good = shared.world().token == token;
    let refusal = match (good, body) {
        (false, _) if token.contains(':') => Refusal::new(401, "Unauthorized"),
        (false, _) => Refusal::new(404, "Not Found"),
        (true, Err(why)) => Refusal::new(400, &format!("Bad Request: {why}")),
        (true, Ok(body)) => match carry_out(shared, method, path, body) {
            Ok(answer) => return answer,
            Err(refusal) => refusal,
        },
    };
    Answer::json(refusal.code, &refusal.body())
}

fn carry_out(shared: &Shared, method: &str, path: &str, body: &Body) -> Result<Answer, Refusal> {
    let good = |result: Value| Answer::json(200, &json!({"ok": true, "result": result}));
    if method == "file" {
        let world = shared.world();
        let found = world.files.values().find(|(place, _)| place == path);
        let (_, bytes) = found.ok_or_else(|| Refusal::new(404, "Not Found"))?;
        let mut answer = Answer::text(200, "application/octet-stream", String::new());
        answer.body.clone_from(bytes);
        return Ok(answer);
    }
    if method.eq_ignore_ascii_case("getUpdates") {
        return updates::get_updates(shared, &body.params).map(good);
    }
    methods::call(&mut shared.world(), method, body).map(good)
}
