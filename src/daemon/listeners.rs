//! Opens the listeners: on the addresses that were asked for, and on loopback beside them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use crate::daemon::holder;
use crate::error::Fatal;
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

/// Opens a socket for each of `binds`. `127.0.0.1` is bound too where no loopback address is, so that
/// this machine's programs find the gateway while an address is not there; and `[::1]` as far as that is
/// possible, because a browser takes it for `localhost`, and whoever held it would be given the token.
pub(super) fn open(binds: &[IpAddr], port: u16) -> Result<Listeners, Fatal> {
    let mut addresses = binds.to_vec();
    if !binds.iter().any(|ip| ip.is_loopback() || *ip == Ipv4Addr::UNSPECIFIED) {
        addresses.push(Ipv4Addr::LOCALHOST.into());
    }
    let mut bound: Vec<SocketAddr> = Vec::new();
    let mut sockets = Vec::new();
    for ip in addresses {
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
        match acceptor::listen(address) {
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

fn listen(address: SocketAddr) -> Result<TcpListener, Fatal> {
    let tried = match acceptor::listen(address) {
        Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
            log::warn!(
                "{} is no address of this machine yet: it is served as soon as it is one",
                address.ip()
            );
            acceptor::listen_ahead(address)
        }
        tried => tried,
    };
    tried.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => match holder::pid_at(address) {
            Some(pid) => Fatal::PortHeld { address, pid },
            None => Fatal::Bind { address, source },
        },
        _ => Fatal::Bind { address, source },
    })
}

fn taken(address: SocketAddr) -> Warning {
    let holder = match holder::pid_at(address) {
        Some(pid) => format!("another gateway (pid {pid})"),
        None => "another program".to_owned(),
    };
    let message = format!(
        "{holder} listens on {address}, where a browser looks first for http://localhost:{port}/: open \
         http://127.0.0.1:{port}/ instead, or end that program and start this gateway again",
        port = address.port()
    );
    Warning::new(WarningCode::Ipv6Taken, message)
}
