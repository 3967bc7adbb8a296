//! How far in its frames a client is: the WebSocket library reads ahead and tells of a message only when all
//! of it has come. Looks at the headers of frames only, and judges nothing.

use std::io::Cursor;

use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::OpCode;

/// Follows the frames of one direction of a connection.
#[derive(Default)]
pub(super) struct FrameTracker {
    /// What has come of the next frame's header.
    header: Vec<u8>,
    /// Bytes of the frame's payload that are still to come.
    left: u64,
    /// This frame is the last of its message.
    ends_message: bool,
    /// Bytes of the message under way, as far as announced, all its fragments together.
    pub(super) message_bytes: u64,
}

impl FrameTracker {
    /// Follows the bytes that came next.
    pub(super) fn advance(&mut self, mut bytes: &[u8]) {
        while let Some(first) = bytes.first() {
            if self.left > 0 {
                let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
                self.left -= taken as u64;
                bytes = &bytes[taken..];
                self.end_frame();
            } else {
                self.header.push(*first);
                bytes = &bytes[1..];
                self.end_header();
            }
        }
    }

    /// How much may be read without reading anything of another frame: of a header two bytes, which tell how long
    /// it is (RFC 6455, 5.2), then the rest of it.
    pub(super) fn wanted(&self) -> usize {
        if self.left > 0 {
            return usize::try_from(self.left).unwrap_or(usize::MAX);
        }
        let length_and_mask: usize = self.header.get(1).map_or(0, |second| {
            let length = [(126, 2), (127, 8)].iter().find(|(short, _)| second & 0x7f == *short);
            length.map_or(0, |(_, bytes)| *bytes) + if second & 0x80 == 0 { 0 } else { 4 }
        });
        // A header that is none stays, until the WebSocket library has ended the connection.
        (2 + length_and_mask).saturating_sub(self.header.len()).max(1)
    }

    fn end_header(&mut self) {
        // An error is the WebSocket library's to tell: it ends the connection.
        let Ok(Some((header, bytes))) = FrameHeader::parse(&mut Cursor::new(&self.header)) else { return };
        self.left = bytes;
        // Control frames come between the fragments of a message.
        let is_data = matches!(header.opcode, OpCode::Data(_));
        self.ends_message = is_data && header.is_final;
        if is_data {
            self.message_bytes = self.message_bytes.saturating_add(self.left);
        }
        self.header.clear();
        self.end_frame();
    }

    fn end_frame(&mut self) {
        if self.left == 0 && std::mem::take(&mut self.ends_message) {
            self.message_bytes = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::FrameTracker;

    fn frame(first: u8, bytes: usize) -> Vec<u8> {
        let mut frame = vec![first];
        match bytes {
            0..=125 => frame.push(0x80 | u8::try_from(bytes).unwrap()),
            126..=0xffff => {
                frame.push(0xfe);
                frame.extend(u16::try_from(bytes).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(0xff);
                frame.extend((bytes as u64).to_be_bytes());
            }
        }
        frame.extend([1, 2, 3, 4]);
        frame.resize(frame.len() + bytes, 0xff);
        frame
    }

    #[test]
    fn messages_are_followed_however_they_are_cut() {
        // Text, with a ping between its fragments; then an empty one, and a long one.
        let stream =
            [frame(0x01, 300), frame(0x89, 5), frame(0x80, 70_000), frame(0x81, 0), frame(0x81, 66_000)]
                .concat();
        for step in [1, 2, 3, 7, 64, 1_000, stream.len()] {
            let mut frames = FrameTracker::default();
            let mut largest = 0;
            for bytes in stream.chunks(step) {
                frames.advance(bytes);
                largest = largest.max(frames.message_bytes);
            }
            assert_eq!((frames.message_bytes, frames.header.len(), frames.left), (0, 0, 0), "{step}");
            assert!(step > 1_000 || largest == 70_300, "{step}: {largest}");
        }
    }

    #[test]
    fn what_is_wanted_never_reaches_into_another_frame() {
        let stream = [frame(0x01, 300), frame(0x89, 0), frame(0x80, 5)].concat();
        let (mut frames, mut at, mut reads) = (FrameTracker::default(), 0, 0);
        while at < stream.len() {
            let wanted = frames.wanted();
            frames.advance(&stream[at..at + wanted]);
            at += wanted;
            reads += 1;
        }
        assert_eq!((at, frames.message_bytes), (stream.len(), 0));
        assert!(reads < 12, "{reads}");
    }

    #[test]
    fn lengths_that_cannot_be_overflow_nothing() {
        let mut frames = FrameTracker::default();
        for _ in 0..3 {
            frames.advance(&[0x01, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
            assert_eq!(frames.message_bytes, u64::MAX);
            frames.left = 0;
        }
    }
}
