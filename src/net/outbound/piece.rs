//! What waits for one client: frames and events as they were made, and small ones together in a block.
//!
//! A client that reads nothing may have thousands of small frames waiting. One by one they would take
//! several times their length, and lie scattered in memory that could not be given back afterwards.

use std::collections::VecDeque;
use std::io::Cursor;

use tungstenite::Bytes;
use tungstenite::protocol::frame::FrameHeader;

use crate::limits::{BACKLOG_BLOCK_BYTES_MAX, BACKLOG_BLOCK_BYTES_MIN, BACKLOG_SMALL_BYTES_MAX};
use crate::net::permits::Permit;
use crate::protocol::frame::EventHead;

/// A frame, an event or a block of small frames in a client's queue.
pub(super) struct Piece {
    /// Events only: the part that differs per connection.
    head: Option<EventHead>,
    body: Body,
    /// Pages only: given back when the kernel has all of the page.
    turn: Option<Permit>,
}

enum Body {
    Frame(Bytes),
    /// Small frames, one behind the other.
    Block(Vec<u8>),
}

/// A piece besides its body, and what the allocator and the body's own count add.
const PIECE_BYTES: usize = size_of::<Piece>() + 64;

impl Piece {
    pub(super) fn frame(frame: Bytes, turn: Option<Permit>) -> Self {
        Self { head: None, body: Body::Frame(frame), turn }
    }

    pub(super) fn event(head: EventHead, tail: Bytes) -> Self {
        Self { head: Some(head), ..Self::frame(tail, None) }
    }

    /// The bytes of the piece, in order.
    pub(super) fn slices(&self) -> [&[u8]; 2] {
        let body = match &self.body {
            Body::Frame(frame) => &frame[..],
            Body::Block(block) => &block[..],
        };
        [self.head.as_ref().map_or(&[][..], EventHead::as_bytes), body]
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
        body + PIECE_BYTES
    }

    /// Whether the piece may become a part of a block.
    fn is_small(&self) -> bool {
        self.turn.is_none() && self.len() <= BACKLOG_SMALL_BYTES_MAX
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

/// Where at the end of a queue a piece is put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Placement {
    /// As a piece of its own.
    Own,
    /// In the block that is the last piece, with so much more room.
    LastBlock { more: usize },
    /// In a block of so many bytes, which is to be made.
    NewBlock { bytes: usize },
}

impl Placement {
    /// Where a piece is put behind others. One that finds nothing waiting is not copied into a block: the
    /// kernel may take it at once.
    pub(super) fn behind(queue: &VecDeque<Piece>, piece: &Piece) -> Self {
        let Some(last) = queue.back().filter(|_| piece.is_small()) else { return Self::Own };
        let bytes = piece.len();
        let Body::Block(block) = &last.body else {
            return Self::NewBlock { bytes: bytes.max(BACKLOG_BLOCK_BYTES_MIN) };
        };
        let needed = block.len() + bytes;
        if needed <= block.capacity() {
            Self::LastBlock { more: 0 }
        } else if needed <= BACKLOG_BLOCK_BYTES_MAX {
            let larger = (2 * block.capacity()).min(BACKLOG_BLOCK_BYTES_MAX).max(needed);
            Self::LastBlock { more: larger - block.capacity() }
        } else {
            Self::NewBlock { bytes: BACKLOG_BLOCK_BYTES_MAX }
        }
    }

    /// What a piece takes in memory there.
    pub(super) fn held_bytes(self, piece: &Piece) -> usize {
        match self {
            Self::Own => piece.held_bytes(),
            Self::LastBlock { more } => more,
            Self::NewBlock { bytes } => bytes + PIECE_BYTES,
        }
    }

    /// Puts the piece there. Returns how much more the queue takes in memory.
    pub(super) fn put(self, queue: &mut VecDeque<Piece>, piece: Piece) -> usize {
        let held = |queue: &VecDeque<Piece>| queue.back().map_or(0, Piece::held_bytes);
        let (before, room) = match self {
            Self::Own => {
                queue.push_back(piece);
                return held(queue);
            }
            Self::LastBlock { more } => (held(queue), more),
            Self::NewBlock { bytes } => {
                queue.push_back(Piece { head: None, body: Body::Block(Vec::new()), turn: None });
                (0, bytes)
            }
        };
        if let Some(Piece { body: Body::Block(block), .. }) = queue.back_mut() {
            block.reserve_exact(block.capacity() + room - block.len());
            piece.slices().iter().for_each(|slice| block.extend_from_slice(slice));
        }
        held(queue) - before
    }
}
