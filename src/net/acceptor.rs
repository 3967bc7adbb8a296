//! The accept thread: owns the listeners, starts a thread per connection, and bounds how many connections
//! are open and how many are in their handshake. Reads nothing from them.

use std::io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
use std::io::{self};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};

use crate::limits::{ACCEPT_RETRY, HANDSHAKE_TIMEOUT, LISTEN_BACKLOG, SOCKETS_POLL_INTERVAL};
use crate::metrics::METRICS;
use crate::net::{ConnShared, NetContext, conn};
use crate::threads;

/// Opens a listening socket; with `may_be_absent` also on an address that this machine does not have yet. std's
/// own uses a short backlog, which drops SYNs in a burst of reconnecting clients.
pub(crate) fn listen(address: SocketAddr, may_be_absent: bool) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket: OwnedFd = rustix::net::socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    if may_be_absent && address.is_ipv4() {
        sockopt::set_ip_freebind(&socket, true)?;
    } else if may_be_absent {
        sockopt::set_ipv6_freebind(&socket, true)?;
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, LISTEN_BACKLOG)?;
    Ok(TcpListener::from(socket))
}

/// The running thread that accepts connections.
pub(crate) struct Acceptor {
    thread: JoinHandle<()>,
    wake: UnixStream,
}

impl Acceptor {
    /// Starts accepting connections.
    pub(crate) fn start(listeners: Vec<TcpListener>, context: Arc<NetContext>) -> io::Result<Self> {
        let (wake, woken) = UnixStream::pair()?;
        let thread = threads::spawn_owner("accept", move || run(&listeners, &woken, &context))?;
        Ok(Self { thread, wake })
    }

    /// Closes the listeners and ends the thread.
    pub(crate) fn stop(self, deadline: Instant) -> bool {
        let _ = self.wake.shutdown(std::net::Shutdown::Both);
        threads::join_until(self.thread, deadline)
    }
}

fn run(listeners: &[TcpListener], woken: &UnixStream, context: &Arc<NetContext>) {
    let mut backoff = ACCEPT_RETRY;
    while !context.is_stopping.load(Ordering::Relaxed) {
        let mut watched: Vec<PollFd<'_>> = listeners
            .iter()
            .map(|listener| PollFd::from_borrowed_fd(listener.as_fd(), PollFlags::IN))
            .collect();
        watched.push(PollFd::from_borrowed_fd(woken.as_fd(), PollFlags::IN));
        // Nothing wakes up for the token's file while nobody is connected.
        let is_empty = context.open_sockets.load(Ordering::Relaxed) == 0;
        let timeout = context.token.until_next_look().filter(|_| !is_empty);
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        let polled = poll(&mut watched, timeout.as_ref());
        context.token.look_when_due();
        if polled.is_err() {
            continue;
        }
        if watched.last().is_some_and(|wake| !wake.revents().is_empty()) {
            return;
        }
        for (listener, _) in listeners.iter().zip(&watched).filter(|(_, fd)| !fd.revents().is_empty()) {
            match accept(listener, context) {
                Ok(()) => backoff = ACCEPT_RETRY,
                Err(error) => {
                    log::error!(
                        "cannot accept connections: {error}; close some clients or raise the limit on open files \
                         (ulimit -n)"
                    );
                    // After an error such as "too many open files" spinning would not free any.
                    std::thread::sleep(backoff.next_pause());
                }
            }
        }
    }
}

/// Accepts what waits on one listener, but never so many that another one starves.
fn accept(listener: &TcpListener, context: &Arc<NetContext>) -> io::Result<()> {
    for _ in 0..64 {
        // Each connection may wait for a slot.
        context.token.look_when_due();
        await_room(context);
        let (stream, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) if matches!(error.kind(), WouldBlock | Interrupted | ConnectionAborted) => {
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let deadline = Instant::now() + HANDSHAKE_TIMEOUT;
        METRICS.accepted.up();
        stream.set_nonblocking(false)?;
        // Answers are single writes: waiting for more to say only adds 40 ms.
        stream.set_nodelay(true)?;
        let conn = context.next_conn.fetch_add(1, Ordering::Relaxed);
        let shared = ConnShared::new(conn, stream, &context.open_sockets);
        let slot = context.handshake_slots.take(&shared);
        let context = Arc::clone(context);
        threads::spawn_expendable(&format!("conn-{conn}"), move || {
            conn::serve(peer, &shared, deadline, &context, slot);
        })?;
    }
    Ok(())
}

/// Waits while as many sockets are open as there may be: the rest of the descriptors are for others than
/// clients. Whoever wants to connect meanwhile waits in the kernel's queue.
fn await_room(context: &NetContext) {
    let is_full = || {
        context.open_sockets.load(Ordering::Relaxed) >= context.shares.sockets
            && !context.is_stopping.load(Ordering::Relaxed)
    };
    if !is_full() {
        return;
    }
    log::warn!(
        "connections are accepted as others end: {} are open, all that --max-clients and the limit on open files \
         have room for",
        context.shares.sockets
    );
    while is_full() {
        context.handshake_slots.evict_oldest();
        context.token.look_when_due();
        std::thread::sleep(SOCKETS_POLL_INTERVAL);
    }
}
