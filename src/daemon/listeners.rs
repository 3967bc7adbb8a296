//! Opens the listeners: on the addresses that were asked for, and on loopback beside them. Says who is in the
//! way of one.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::daemon::fatal::Fatal;
use crate::net::acceptor;
use crate::protocol::warning::{Warning, WarningCode};

/// Sockets that listen, all on one port.
pub(super) struct Listeners {
    pub(super) sockets: Vec<TcpListener>,
    /// The first address that was asked for.
    pub(super) url: String,
    /// Where programs of this machine connect.
    pub(super) local_url: String,
    /// What stands in the way of `[::1]`.
    pub(super) warning: Option<Warning>,
}

/// Opens a socket for each of `binds`, for `127.0.0.1`, and for `[::1]` as far as that is possible: a browser
/// takes either for `localhost`, and whoever held it would be given the token.
pub(super) fn open(binds: &[IpAddr], port: u16) -> Result<Listeners, Fatal> {
    let mut bound: Vec<SocketAddr> = Vec::new();
    let mut sockets = Vec::new();
    for ip in with_loopback(binds) {
        // With port 0 all addresses share the one that the system chose for the first.
        let address = SocketAddr::new(ip, bound.first().map_or(port, SocketAddr::port));
        let socket = listen(address)?;
        bound.push(socket.local_addr().unwrap_or(address));
        sockets.push(socket);
    }
    let port = bound.first().map_or(port, SocketAddr::port);
    let has_ipv6 = bound.iter().any(|address| {
        [Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED].iter().any(|ip| address.ip() == IpAddr::V6(*ip))
    });
    let mut warning = None;
    if !has_ipv6 {
        let address = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), port);
        match acceptor::listen(address, false) {
            Ok(socket) => sockets.push(socket),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => warning = Some(taken(address)),
            // This machine has no IPv6, so nobody else can have it either.
            Err(error) => log::debug!("{address} is not listened on: {error}"),
        }
    }
    let local = bound.iter().find(|address| address.ip().is_loopback());
    let local = local.copied().unwrap_or_else(|| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
    let url = bound.first().map_or_else(String::new, |address| format!("ws://{address}"));
    Ok(Listeners { sockets, url, local_url: format!("ws://{local}"), warning })
}

/// What was asked for, and `127.0.0.1` unless that is in it: programs of this machine look for the gateway
/// there, whatever other address it was told.
fn with_loopback(binds: &[IpAddr]) -> Vec<IpAddr> {
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let is_in = binds.iter().any(|ip| *ip == loopback || *ip == Ipv4Addr::UNSPECIFIED);
    binds.iter().copied().chain((!is_in).then_some(loopback)).collect()
}

fn listen(address: SocketAddr) -> Result<TcpListener, Fatal> {
    let tried = match acceptor::listen(address, false) {
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            log::warn!(
                "{} is no address of this machine yet: it is served as soon as it is one",
                address.ip()
            );
            acceptor::listen(address, true)
        }
        tried => tried,
    };
    tried.map_err(|error| {
        if error.kind() != io::ErrorKind::AddrInUse {
            return Fatal::failed(format!("cannot listen on {address}: {error}; check --bind and --port"));
        }
        match pid_at(address) {
            Some(pid) => Fatal::held(format!(
                "another gateway (pid {pid}) listens on {address}: stop it first, or give this one another --port"
            )),
            None => Fatal::failed(format!(
                "port {} on {} is taken by another program: end it, or give this gateway another --port",
                address.port(),
                address.ip()
            )),
        }
    })
}

/// How long another gateway may take to say its process id: this one must be gone within 1 s.
const PATIENCE: Duration = Duration::from_millis(300);

/// Asks `/healthz` on a taken port. `None` if no gateway answers there.
fn pid_at(address: SocketAddr) -> Option<u64> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = Vec::new();
    // A reset behind the answer does not matter, nor does a program that never stops talking.
    let _ = stream.take(2_048).read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer);
    let (_, body) = text.split_once("\r\n\r\n")?;
    serde_json::from_str::<Value>(body).ok()?["pid"].as_u64()
}

/// The warning that another program has `[::1]`: no gateway holds the one address without the other.
fn taken(address: SocketAddr) -> Warning {
    let message = format!(
        "another program listens on {address}, where a browser looks first for http://localhost:{port}/: open \
         http://127.0.0.1:{port}/ instead, or end that program and start this gateway again",
        port = address.port()
    );
    Warning::new(WarningCode::Ipv6Taken, message)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::with_loopback;

    #[test]
    fn what_programs_take_for_localhost_is_served_beside_any_address() {
        for (binds, opened) in [
            (vec!["127.0.0.1"], vec!["127.0.0.1"]),
            (vec!["0.0.0.0"], vec!["0.0.0.0"]),
            (vec!["127.0.0.2", "127.0.0.1"], vec!["127.0.0.2", "127.0.0.1"]),
            (vec!["127.0.0.2"], vec!["127.0.0.2", "127.0.0.1"]),
            (vec!["::1"], vec!["::1", "127.0.0.1"]),
            (vec!["::"], vec!["::", "127.0.0.1"]),
            (vec!["192.0.2.7", "::1"], vec!["192.0.2.7", "::1", "127.0.0.1"]),
        ] {
            let addresses =
                |texts: &[&str]| -> Vec<IpAddr> { texts.iter().map(|it| it.parse().unwrap()).collect() };
            assert_eq!(with_loopback(&addresses(&binds)), addresses(&opened), "{binds:?}");
        }
    }
}
