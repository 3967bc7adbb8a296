//! One gateway on a host for each account: whoever polls a bot, or has a session with WhatsApp, holds a
//! socket in Linux's abstract namespace, whose name is made of the account. The kernel frees it with the
//! process, however that ends, and nothing of it lies in a folder.
//!
//! Any user of the host may take such a name, and so may the agent in its sandbox. A holder is believed where
//! it could be a gateway: it listens, and is a process of this user or of root that this gateway has not
//! started. Whatever else holds the name is a reason for a warning and none for silence, or it could switch a
//! channel off for good; two gateways of two users are still told apart by the channels themselves (Telegram
//! answers 409, WhatsApp ends the older session of a login).
//!
//! Containers have namespaces of their own, unless they share the host's network. Other systems have no such
//! sockets: there everybody goes on, and only the channels tell.

/// The result of claiming an account.
pub(super) enum Claim {
    /// It is ours for as long as the lease lives.
    Ours(Lease),
    /// It is ours already, by a thread that is about to end.
    Ending,
    /// Another gateway holds it: which, in words.
    Taken(String),
    /// Something that cannot be told from no gateway at all holds it, in words: nobody waits for that.
    Disputed(String),
}

#[cfg(target_os = "linux")]
pub(super) use linux::{Lease, claim};
#[cfg(not(target_os = "linux"))]
pub(super) use other::{Lease, claim};

#[cfg(target_os = "linux")]
mod linux {
    use std::os::fd::OwnedFd;
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixListener};
    use std::{fs, io};

    use rustix::net::sockopt::socket_peercred;
    use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, UCred, connect, socket_with};
    use rustix::process::{geteuid, getpid};

    use super::Claim;
    use crate::limits::LEASE_ANCESTORS_MAX;
    use crate::names;

    /// A lease of an account, which ends with it.
    pub(in crate::channels) struct Lease(UnixListener);

    impl Lease {
        /// Drops the connections of those who looked who holds it: they would fill the queue.
        pub(in crate::channels) fn drain(&self) {
            while self.0.accept().is_ok() {}
        }
    }

    /// Claims an account. Anybody may read the name that is made of it, so it holds no secret.
    pub(in crate::channels) fn claim(account: &str) -> Claim {
        let digest = names::digest(format!("clawdis {account}"), 16);
        let name = format!("clawdis-gateway-{digest}");
        let listener = SocketAddr::from_abstract_name(&name).and_then(|address| {
            let listener = UnixListener::bind_addr(&address)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        });
        match listener {
            Ok(listener) => Claim::Ours(Lease(listener)),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => judge(holder(&name)),
            Err(error) => Claim::Disputed(format!("nothing can be held there: {error}")),
        }
    }

    /// Who holds the name. `None` if nobody listens there, or does not let us in.
    fn holder(name: &str) -> Option<UCred> {
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket: OwnedFd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None).ok()?;
        connect(&socket, &SocketAddrUnix::new_abstract_name(name.as_bytes()).ok()?).ok()?;
        socket_peercred(&socket).ok()
    }

    fn judge(holder: Option<UCred>) -> Claim {
        let Some(UCred { pid, uid, .. }) = holder else {
            return Claim::Disputed("what holds it does not say who it is".to_owned());
        };
        let number = pid.as_raw_nonzero().get();
        if pid == getpid() {
            return Claim::Ending;
        }
        let whose = if uid == geteuid() { String::new() } else { format!(" of user id {}", uid.as_raw()) };
        let who = format!("process {number}{whose}");
        if uid != geteuid() && !uid.is_root() {
            return Claim::Disputed(format!("{who} holds it, which may be anything"));
        }
        match is_below_us(number) {
            Some(false) => Claim::Taken(who),
            Some(true) => Claim::Disputed(format!("{who} holds it, which this gateway's agent has started")),
            None => {
                Claim::Disputed(format!("{who} held it and is gone; something that it started holds it now"))
            }
        }
    }

    /// Whether this gateway has started a process; `None` if there is no such process.
    fn is_below_us(pid: i32) -> Option<bool> {
        let own = getpid().as_raw_nonzero().get();
        let mut at = parent(pid)?;
        for _ in 0..LEASE_ANCESTORS_MAX {
            if at <= 1 || at == own {
                break;
            }
            // Its parent may end while we look.
            at = parent(at).unwrap_or(0);
        }
        Some(at == own)
    }

    fn parent(pid: i32) -> Option<i32> {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
        line.trim().parse().ok()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn an_account_is_held_until_its_lease_ends() {
            let account = format!("test {}", std::process::id());
            let Claim::Ours(lease) = claim(&account) else { panic!("it is free") };
            for _ in 0..1_000 {
                assert!(matches!(claim(&account), Claim::Ending));
                lease.drain();
            }
            assert!(matches!(claim(&format!("{account} of another")), Claim::Ours(_)));
            drop(lease);
            assert!(matches!(claim(&account), Claim::Ours(_)));
        }

        #[test]
        fn what_does_not_listen_is_no_gateway() {
            let account = format!("mute {}", std::process::id());
            let digest = names::digest(format!("clawdis {account}"), 16);
            let address = SocketAddr::from_abstract_name(format!("clawdis-gateway-{digest}")).unwrap();
            let mute =
                socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::empty(), None).unwrap();
            let name = SocketAddrUnix::new_abstract_name(address.as_abstract_name().unwrap()).unwrap();
            rustix::net::bind(&mute, &name).unwrap();
            assert!(matches!(claim(&account), Claim::Disputed(_)));
            drop(mute);
            let full = UnixListener::bind_addr(&address).unwrap();
            rustix::net::listen(&full, 0).unwrap();
            let mut waiting = Vec::new();
            while let Some(socket) = fill(&address) {
                waiting.push(socket);
            }
            assert!(matches!(claim(&account), Claim::Disputed(_)), "nobody is let in");
        }

        fn fill(address: &SocketAddr) -> Option<OwnedFd> {
            let socket =
                socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None).ok()?;
            let name = SocketAddrUnix::new_abstract_name(address.as_abstract_name()?).ok()?;
            connect(&socket, &name).ok()?;
            Some(socket)
        }

        #[test]
        fn only_what_we_started_is_below_us() {
            let own = getpid().as_raw_nonzero().get();
            assert_eq!(is_below_us(1), Some(false));
            assert_eq!(is_below_us(parent(own).unwrap()), Some(false));
            assert_eq!(is_below_us(i32::MAX), None);
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    use super::Claim;

    /// An empty lease, in place of Linux's.
    pub(in crate::channels) struct Lease;

    impl Lease {
        /// Does nothing: nobody looks who holds it.
        pub(in crate::channels) fn drain(&self) {}
    }

    /// Gives the lease to everybody: other holders cannot be told.
    pub(in crate::channels) fn claim(_account: &str) -> Claim {
        Claim::Ours(Lease)
    }
}
