//! What waits for one client: frames and events as they were made, and small ones together in a block.
//!
//! A client that reads nothing may have thousands of small frames waiting. One by one they would take
//! several times their length, and lie scattered in memory that could not be given back afterwards.

use std::collections::VecDeque;
use std::io::Cursor;

use tungstenite::Bytes;
use tungstenite::protocol::frame::FrameHeader;

use crate::limits::{BACKLOG_BLOCK_BYTES_MAX, BACKLOG_BLOCK_BYTES_MIN, BACKLOG_SMALL_BYTES_MAX};
use crate::net::outbound::PageHold;

/// A frame, an event or a block of small frames in a client's queue.
pub(super) struct Piece {
    /// Of an event the part that differs per connection; of anything else nothing.
    head: Vec<u8>,
    body: Body,
    /// Pages only: dropped when the kernel has all of the page.
    hold: Option<PageHold>,
}

enum Body {
    Frame(Bytes),
    /// Small frames, one behind the other.
    Block(Vec<u8>),
}

/// A piece besides its body, and what the allocator and the body's own count add.
const PIECE_BYTES: usize = size_of::<Piece>() + 64;

impl Piece {
    pub(super) fn frame(frame: Bytes, hold: Option<PageHold>) -> Self {
        Self { head: Vec::new(), body: Body::Frame(frame), hold }
    }

    pub(super) fn event(head: Vec<u8>, tail: Bytes) -> Self {
        Self { head, ..Self::frame(tail, None) }
    }

    /// The bytes of the piece, in order.
    pub(super) fn slices(&self) -> [&[u8]; 2] {
        let body = match &self.body {
            Body::Frame(frame) => &frame[..],
            Body::Block(block) => &block[..],
        };
        [&self.head, body]
    }

    pub(super) fn len(&self) -> usize {
        self.slices().map(<[u8]>::len).iter().sum()
    }

    /// What the piece takes in memory until all of it is sent.
    pub(super) fn held_bytes(&self) -> usize {
        let body = match &self.body {
            Body::Frame(frame) => frame.len(),
            Body::Block(block) => block.capacity(),
        };
        self.head.capacity() + body + PIECE_BYTES
    }

    /// Whether the piece may become a part of a block.
    fn is_small(&self) -> bool {
        self.hold.is_none() && self.len() <= BACKLOG_SMALL_BYTES_MAX
    }

    /// Leaves out the frames of a block that begin behind so many bytes.
    pub(super) fn end_with_the_frame_at(&mut self, bytes: usize) {
        let Body::Block(block) = &mut self.body else { return };
        let mut end = 0;
        while end < bytes {
            let mut rest = Cursor::new(&block[end..]);
            // They are ours, and whole.
            let Ok(Some((_, payload))) = FrameHeader::parse(&mut rest) else { return };
            end = end.saturating_add(usize::try_from(rest.position() + payload).unwrap_or(usize::MAX));
        }
        block.truncate(end);
    }
}

/// Puts a piece behind others, a small one into the block that is the last of them or into a new one. One that
/// finds nothing waiting is not copied into a block: the kernel may take it at once. Returns how much more the
/// queue takes in memory.
pub(super) fn put(queue: &mut VecDeque<Piece>, piece: Piece) -> usize {
    let Some(last) = queue.back().filter(|_| piece.is_small()) else {
        let held = piece.held_bytes();
        queue.push_back(piece);
        return held;
    };
    let bytes = piece.len();
    let mut before = last.held_bytes();
    let new_bytes = match &last.body {
        Body::Block(block) if block.len() + bytes <= BACKLOG_BLOCK_BYTES_MAX => None,
        Body::Block(_) => Some(BACKLOG_BLOCK_BYTES_MAX),
        Body::Frame(_) => Some(BACKLOG_BLOCK_BYTES_MIN),
    };
    if let Some(new_bytes) = new_bytes {
        before = 0;
        queue.push_back(Piece {
            head: Vec::new(),
            body: Body::Block(Vec::with_capacity(new_bytes)),
            hold: None,
        });
    }
    if let Some(Piece { body: Body::Block(block), .. }) = queue.back_mut() {
        let needed = block.len() + bytes;
        if needed > block.capacity() {
            let larger = (2 * block.capacity()).min(BACKLOG_BLOCK_BYTES_MAX).max(needed);
            block.reserve_exact(larger - block.len());
        }
        piece.slices().iter().for_each(|slice| block.extend_from_slice(slice));
    }
    queue.back().map_or(0, Piece::held_bytes) - before
}
