//! What one turn adds to the outbox and to the records.

use crate::state::model::outbox::LetterId;
use crate::store::StoreOp;

/// Letters that were made, with what puts them, and what belongs to them, on record.
#[derive(Debug, Default)]
pub(crate) struct Posted {
    pub(crate) letters: Vec<LetterId>,
    pub(crate) ops: Vec<StoreOp>,
}
