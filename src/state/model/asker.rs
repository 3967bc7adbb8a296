//! Askers: who waits for an answer. Pure.

use crate::protocol::ConnId;

/// A client's request that is owed an answer: the connection it came on, and its id there. The connection may be
/// gone by then, and no other one gets its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) conn: ConnId,
    pub(crate) id: String,
}
