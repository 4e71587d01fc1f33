//! Messages of a stream to a TURN server (RFC 8656 12.5): STUN, and channel data padded to four bytes.

/// The longest message: a length of 16 bits, its header and its padding.
const LONGEST: usize = 65_535 + 20 + 3;

/// Bytes that came, cut into messages. It never holds more than one message and one read beyond it.
#[derive(Debug, Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    start: usize,
}

/// What comes is neither STUN nor channel data: the stream cannot be read any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what it sends is not TURN: check the port, and whether TLS is spoken there")]
pub(super) struct NotTurn;

impl Frames {
    /// Adds what was read.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.start);
        self.start = 0;
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message, without its padding.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, NotTurn> {
        let rest = self.bytes.get(self.start..).unwrap_or_default();
        let [first, _, high, low, ..] = rest else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        // STUN's types are below 0x0200 (RFC 8489 leaves the others unused), and its lengths divide by four.
        let (message, padded) = match first >> 6 {
            0 if *first < 2 && length.is_multiple_of(4) => (20 + length, 20 + length),
            1 => (4 + length, 4 + length.next_multiple_of(4)),
            _ => return Err(NotTurn),
        };
        debug_assert!(padded <= LONGEST);
        if rest.len() < padded {
            return Ok(None);
        }
        let start = self.start;
        self.start += padded;
        Ok(self.bytes.get(start..start + message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages() -> (Vec<u8>, Vec<Vec<u8>>) {
        let mut stun = vec![0x01, 0x01, 0x00, 0x08];
        stun.extend([7; 24]);
        let channel = vec![0x40, 0x00, 0x00, 0x05, 1, 2, 3, 4, 5];
        let even = vec![0x40, 0x01, 0x00, 0x04, 6, 7, 8, 9];
        let empty = vec![0x40, 0x02, 0x00, 0x00];
        let all = vec![stun, channel, even, empty];
        let mut stream = Vec::new();
        for message in &all {
            stream.extend_from_slice(message);
            stream.resize(stream.len().next_multiple_of(4), 0xee);
        }
        (stream, all)
    }

    #[test]
    fn messages_are_found_however_the_stream_is_cut() {
        let (stream, all) = messages();
        for cut in 1..=stream.len() {
            let mut frames = Frames::default();
            let mut found = Vec::new();
            for piece in stream.chunks(cut) {
                frames.push(piece);
                while let Some(message) = frames.next().unwrap() {
                    found.push(message.to_vec());
                }
            }
            assert_eq!(found, all, "pieces of {cut}");
            assert!(frames.bytes.len() <= stream.len());
        }
    }

    #[test]
    fn another_protocol_is_noticed_at_once() {
        for garbage in [&[0x80, 0, 0, 0][..], &[0xff; 40], b"\x16\x03\x01\x02\x01"] {
            let mut frames = Frames::default();
            frames.push(garbage);
            assert_eq!(frames.next(), Err(NotTurn), "{garbage:x?}");
        }
    }
}
