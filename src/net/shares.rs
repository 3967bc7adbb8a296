//! How the descriptors that the process may have are shared out, so that clients cannot take those that
//! the store, the agent and the channels need.

use crate::limits::{
    DESCRIPTORS_FOR_SOCKETS_MIN, DESCRIPTORS_KEPT_BACK, DESCRIPTORS_PER_AGENT, REFUSALS_WAITING_MAX,
    UNAUTHENTICATED_MAX,
};

/// How many sockets there may be, of each kind and in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shares {
    /// Clients past their handshake.
    pub(crate) clients: usize,
    /// Connections in their handshake.
    pub(crate) handshakes: usize,
    /// Refusals of wrong tokens that wait for their turn.
    pub(crate) refusals: usize,
    /// Accepted sockets in all; beyond it new ones wait in the kernel's queue.
    pub(crate) sockets: usize,
}

impl Shares {
    /// Shares out `descriptors` (`None`: there is no bound) among so many clients and agents.
    pub(crate) fn of(descriptors: Option<u64>, clients_max: usize, agents: usize) -> Self {
        let kept_back = DESCRIPTORS_KEPT_BACK + agents * DESCRIPTORS_PER_AGENT;
        let descriptors = descriptors.and_then(|count| usize::try_from(count).ok()).unwrap_or(usize::MAX);
        let free = descriptors.saturating_sub(kept_back).max(DESCRIPTORS_FOR_SOCKETS_MIN);
        let handshakes = UNAUTHENTICATED_MAX.min(free / 8);
        let refusals = REFUSALS_WAITING_MAX.min(free / 8);
        // Twice: connections that have lost their handshake slot take a moment to end.
        let others = 2 * handshakes + refusals;
        let clients = clients_max.min(free - others);
        Self { clients, handshakes, refusals, sockets: clients + others }
    }
}

#[cfg(test)]
mod tests {
    use super::Shares;
    use crate::limits::{CLIENTS_MAX_DEFAULT, REFUSALS_WAITING_MAX, UNAUTHENTICATED_MAX};

    #[test]
    fn what_is_kept_back_is_no_clients() {
        let plenty = Shares::of(None, CLIENTS_MAX_DEFAULT, 1);
        assert_eq!(plenty, Shares::of(Some(1 << 20), CLIENTS_MAX_DEFAULT, 1));
        assert_eq!((plenty.clients, plenty.handshakes), (CLIENTS_MAX_DEFAULT, UNAUTHENTICATED_MAX));
        assert_eq!(plenty.refusals, REFUSALS_WAITING_MAX);
        for descriptors in [0, 20, 64, 256, 1_024, 4_096] {
            let shares = Shares::of(Some(descriptors), CLIENTS_MAX_DEFAULT, 2);
            assert!(shares.clients > 0 && shares.handshakes > 0 && shares.refusals > 0, "{shares:?}");
            let left = usize::try_from(descriptors).unwrap().saturating_sub(shares.sockets);
            assert!(descriptors < 64 || left >= 36, "{shares:?}");
        }
        assert_eq!(Shares::of(Some(64), 3, 1).clients, 3);
    }
}
