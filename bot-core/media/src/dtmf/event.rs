//! The payload of a telephone-event packet (RFC 4733 section 2.3): four bytes.

/// The reading of one telephone-event payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventPayload {
    /// The event code: 0 to 15 are the keys.
    pub event: u8,
    /// Whether the press is over.
    pub end: bool,
    /// The power of the tone in dBm0 without its sign: 0 is loudest, 63 faintest.
    pub volume: u8,
    /// How long the press has lasted so far, in timestamp units.
    pub duration: u16,
}

impl EventPayload {
    /// Reads the first event of a payload; `None` when it is too short.
    #[must_use]
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let [event, flags, high, low, ..] = *payload else {
            return None;
        };
        Some(Self {
            event,
            end: flags & 0x80 != 0,
            volume: flags & 0x3f,
            duration: u16::from_be_bytes([high, low]),
        })
    }

    /// The payload to send.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 4] {
        let [high, low] = self.duration.to_be_bytes();
        let end = if self.end { 0x80 } else { 0 };
        [self.event, end | (self.volume & 0x3f), high, low]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_survives_both_ways() {
        let event = EventPayload {
            event: 11,
            end: true,
            volume: 10,
            duration: 0x1234,
        };
        assert_eq!(event.to_bytes(), [11, 0x8a, 0x12, 0x34]);
        assert_eq!(EventPayload::parse(&event.to_bytes()), Some(event));
        assert_eq!(EventPayload::parse(&[1, 2, 3]), None);
    }
}
