//! clawdis-gateway: one daemon that owns a person's messaging channels and runs their agent, and
//! `clawdis`, the command line tool that talks to it.
//!
//! # The floors
//!
//! A module names only what stands on a lower floor. Each folder's `mod.rs` says more.
//!
//! | floor | module | owns |
//! |---|---|---|
//! | 9 | `bin/` | what a binary is: the daemon, the guard of an agent, the demo agent, the tool |
//! | 8 | `daemon` | start and end: `start` reads the command line, `gateway` ties the threads together, `process` is what the system sees (signals, limits), `setup` (and `agent_setup`) says from the settings what each thread is to be |
//! | 7 | `state` | every decision, on one thread: `model/` is what is known, with the rules about each thing by itself; `handlers/` is what an event does to several of these things; `journal` is what waits for the disk, `state_loop` the loop around them, `start` what the last life left behind |
//! | 6 | `net` | the sockets: who may connect (`handshake`; `origin_check` judges hosts, origins and proxy headers, `token` tokens), what comes in (`conn`, `requests`), how much at a time (`slots`, `permits`), what goes out (`outbound/`: `client` is one client's backlog) |
//! | 6 | `channels` | Telegram and WhatsApp: what comes in (`message`) and goes out (`delivery`), the same for both; `text/` makes Markdown into messages, `web/` downloads files (`media_hosts` judges the names of hosts, `special_ranges` their addresses); each channel paces what it sends (`telegram/rate_limit`, `whatsapp/outgoing`); `whatsapp/lifecycle` starts the sidecar, again when it has died |
//! | 6 | `agent` | the processes of Pi, the agent: `process` is one, `pi_line` reads its lines, `pi_run` follows a run by them, `scheduler` finds a process for each run that state hands over; `sandbox/` is the walls around them |
//! | 5 | `config` | what the person has set: file, flags, environment, and what comes of them (`settings`) |
//! | 5 | `cli` | the tool: arguments (`args`, `verbs`), the way to the gateway (`locate`, `connection`), what is shown |
//! | 4 | `store` | every durable file: `commit` makes many promises durable with one sync, `journal` is the file for that, `session_files` and `history` keep what was said; `quota` chooses what makes room, `janitor` is the thread on which that is deleted |
//! | 4 | `child` | child processes and their end: whoever started one ends it; the `guard` of an agent ends what that started (`family`), and `orphans` what no guard has ended |
//! | 4 | `logging` | the log, and what may not be in it |
//! | 3 | `text` | other people's text made harmless |
//! | 2 | `protocol`, `threads` | frames, methods, events and their schemas; named threads |
//! | 1 | `limits` | every bound, and what happens when it is reached: `limits.rs`, and files of `limits/` for what is on disk, for the queues between threads and for the channels |
//! | 0 | `arguments`, `backoff`, `clock`, `metrics`, `names`, `nearest`, `plain_file`, `port` | small tools that know nothing of the gateway |
//!
//! Beside them: `src/webchat/` (the web page), `scripts/whatsapp-sidecar/` (the Node.js program that speaks
//! WhatsApp), `schemas/` (every frame, the config, the sidecar's lines).
//!
//! # How a request walks through
//!
//! 1. `net::acceptor` takes the socket, `net::handshake` reads the HTTP head and the `hello`; the client's own
//!    thread, `net::conn`, reads its frames from then on.
//! 2. `net::requests` makes a request of a frame: `protocol::parse` takes the envelope apart,
//!    `protocol::method` checks the params by the method's schema and makes a `Call` of them.
//! 3. The call goes into the state thread's queue as a `NetEvent`. `state_loop` takes one event at a time, and
//!    `State::handle` leads it to its handler: `state/handlers/requests.rs` has an arm for each method.
//! 4. A handler changes the model, whose writes gather in `model/write_buffer.rs`, and leaves effects: an answer
//!    or event for `net::outbound`, a run for `agent`, a command for `channels`, and the commit of the writes
//!    for `store`. What a write promises happens `Then` (`state/journal.rs`): when the store says that it is
//!    durable.
//! 5. `net::outbound` writes frames to the clients, each with its own backlog and `seq`.
//!
//! Pages of history are read and answered by the client's own thread (`store::history`): state reads no files.
//!
//! # How a chat message walks through
//!
//! 1. `channels/telegram/poll_loop.rs` gets updates and `update.rs` reads them; WhatsApp's come as lines from the
//!    sidecar (`channels/whatsapp/wire.rs`, `inbound.rs`). Both hand over a batch of `channels/message.rs`.
//! 2. `state/handlers/intake.rs` asks `model/access.rs` who may write (`handlers/access.rs` lets people in), and puts what is let in into the inbox
//!    (`model/inbox.rs`). The channel goes on only when that is durable. Files are fetched, albums gathered.
//! 3. `handlers/asking.rs` makes a run of it, with a prompt from `model/prompt.rs`, or carries out a directive
//!    (`handlers/directives.rs`). `handlers/runs.rs` starts it when no other run of its session is under way; which of
//!    the messages that came meanwhile become one next prompt is decided in `model/runs.rs`.
//! 4. `agent::scheduler` finds it a process, `agent::pi_run` follows what that says; `handlers/agent_events.rs`
//!    passes the steps on to clients as `agent` events.
//! 5. At its end `handlers/runs.rs` puts the answer on record and `handlers/replies.rs` into the outbox
//!    (`model/outbox.rs`) as a delivery of parts, cut and formatted by `channels/text/`. Each part is marked on
//!    record, tried by the channel (`telegram/send_loop.rs`, `whatsapp/outgoing.rs`), and its outcome handled in
//!    `handlers/deliveries.rs`.
//!
//! # Where to add
//!
//! - **a method**: a row in `protocol/method.rs` and a schema in `schemas/`; an arm in
//!   `state/handlers/requests.rs`; a row in `cli/verbs.rs` if people call it.
//! - **an event to clients**: `protocol/event.rs` and a schema.
//! - **a channel**: `Channel` in `protocol/call.rs`, a folder in `channels/` beside `telegram/`, its place in
//!   `channels/mod.rs` and `channels/address.rs`, its section in `config/file.rs`, what it is told in
//!   `daemon/setup.rs`. State needs nothing new: it knows no channel's protocol.
//! - **a kind of slot** of the journal: its name in `state/model/slot.rs`, its value beside its data
//!   in `state/model/`, what it becomes after a start in `state/start.rs`, and how many there may be in
//!   `state/model/recovery_bounds.rs`.
//! - **a verb of the tool**: a row in `cli/verbs.rs`; if it does more than ask and show, an `Action`.
//! - **a flag of the daemon**: a row, an arm and a line of the help in `config/flags.rs`; **a key of the config**:
//!   `config/file.rs` and `schemas/config.schema.json`. Both arrive in `config/settings.rs`.
//! - **a limit**: `limits.rs` or its file in `limits/`, with what happens when it is reached; the README's table if people can meet it.
//! - **a warning in `status`**: its code in `protocol/warning.rs`, its text where it is found
//!   (`daemon/setup.rs` for what settings say).
//!
//! # Words
//!
//! - **channel**: a messaging service, Telegram or WhatsApp. **client**: a program that is connected by
//!   WebSocket: the tool, the web page, a script. **person**: whoever writes on a channel. **owner**: the person
//!   whose gateway it is; every client is the owner, too.
//! - **session**: a conversation under a key (`main`, one for each other person and group), with its records.
//! - **run**: one prompt to the agent, from its ack to its last word. **step**: a piece of it that clients see.
//! - **session queue**: the runs of a session that wait. **coalesced run**: one that answers several messages.
//! - **turn**: one event handled by the state thread. **effect**: what follows from it for another thread.
//! - **journal**: the file whose sync makes things durable. **slot**: a named value in it. **record**: a message
//!   in a session's history. **write buffer**: what a turn puts on record, until it is committed.
//! - **inbox**: messages that were taken in and are not answered yet. **outbox**: deliveries that are under way.
//! - **batch**: what a channel hands over at a time. **cursor**: how far it has read.
//! - **delivery**: a message to one chat, in **parts**; an **attempt** is one try of a part.
//! - **pending reply**: an answer that is owed to a chat when a run ends.
//! - **group context**: what was said in a group without being addressed to the gateway.
//! - **directive**: a line for the gateway itself, such as `/stop`. **toggle**: paused, heartbeats, a channel;
//!   a **switch** sets one.
//! - **heartbeat**: a prompt to the agent from time to time. **tick**: the keep-alive event to clients.
//! - **system note**: what `system-event` leaves for the owner's next prompt.
//! - **idempotency key**: what makes the same request, sent twice, happen once (`model/keys.rs`).
//! - **budget**: runs a day. **quota**: what `storage.maxMb` allows. **expiry**: what `storage.retentionDays` ends.
//! - **backlog**: frames that wait for one client. **port**: the way for a thread's events into state's queue.
//! - **sidecar**: the Node.js process that speaks WhatsApp. **guard**: the process between the gateway and an
//!   agent that ends whatever that leaves behind. **lease**: the hold that a gateway has on a bot or account.
//!
//! # Invariants
//!
//! - **State does no IO**, takes no lock and never sleeps: a turn of `State` leaves effects and its loop carries
//!   them out. (It logs; a line that does not fit stdout is dropped.)
//! - **Blocking sends go down the flow only** (conn -> state -> outbound; channels, store -> state;
//!   `agent` waits for nobody). Upwards state uses `try_send`, and a full queue is an answer.
//! - **One thread writes to clients** after the handshake: `outbound`.
//! - **A record is durable before the ack that promises it** and before the side effect that it
//!   guards.
//! - **The agent's folder is reached by one module** (`store::agent_folder`), by descriptors, and whatever
//!   others can put into the state folder is counted and deleted by a thread on which nobody waits.
//! - **Protocol types live in `protocol`**; nobody else derives `Serialize` for a client.
//! - Every bound stands in [`limits`].

// From the top floor down; the blank lines keep the order.
pub mod daemon;

mod state;

pub mod agent;
pub mod channels;
pub mod net;

pub mod cli;
pub mod config;

pub mod child;
mod logging;
pub mod store;
mod text;

pub mod protocol;
mod threads;

pub mod limits;

mod arguments;
mod backoff;
mod clock;
mod metrics;
mod names;
mod nearest;
mod plain_file;
mod port;
