//! A look at datagrams before an engine sees them.
//!
//! Purpose: engines differ in what they make of damaged records (rtc-dtls answers one with a fatal alert, and keeps whatever
//! might be of use later without a bound), so what is no record never reaches them, and the rest is counted. A plain alert is
//! read here, since neither engine says which it was.

use super::DtlsRole;

/// Content types (RFC 6347, section 4.3.1, and RFC 9147, section 4).
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const ACK: u8 = 26;

/// Bytes of a record's and of a handshake message's header.
const RECORD_HEADER: usize = 13;
const MESSAGE_HEADER: usize = 12;

/// The longest handshake message that is put together: a chain of RSA-4096 certificates has half of it.
const MESSAGE_MAX: usize = 16 * 1024;

/// What stands in a datagram.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Datagram {
    /// Whole records.
    pub(super) records: usize,
    /// The number of a fatal alert (or close_notify) that is not encrypted.
    pub(super) alert: Option<u8>,
}

/// Looks through a datagram; nothing if any part of it is not a well-formed record, so that it should be dropped as a whole.
pub(super) fn inspect(mut bytes: &[u8]) -> Option<Datagram> {
    let mut datagram = Datagram::default();
    while let Some(first) = bytes.first() {
        if first >> 5 == 1 {
            // The unified header of DTLS 1.3 (RFC 9147, section 4): it is encrypted and goes to the datagram's end unless
            // it says otherwise. The engine alone can read it.
            datagram.records += 1;
            return (bytes.len() > 4).then_some(datagram);
        }
        let header = bytes.get(..RECORD_HEADER)?;
        let length = usize::from(u16::from_be_bytes([header[11], header[12]]));
        let body = bytes.get(RECORD_HEADER..RECORD_HEADER + length)?;
        let epoch = u16::from_be_bytes([header[3], header[4]]);
        if header[1] != 0xfe || epoch > 1 {
            return None;
        }
        let plain = epoch == 0;
        match header[0] {
            CHANGE_CIPHER_SPEC if !plain || body == [1] => {}
            ALERT if plain => {
                let [level, number] = *body else { return None };
                match (level, number) {
                    (2, _) | (_, 0) => datagram.alert = Some(number),
                    (1, _) => {}
                    _ => return None,
                }
            }
            HANDSHAKE if plain => messages(body)?,
            ALERT | HANDSHAKE | APPLICATION_DATA if !plain => {}
            ACK => {}
            _ => return None,
        }
        datagram.records += 1;
        bytes = bytes.get(RECORD_HEADER + length..)?;
    }
    (datagram.records > 0).then_some(datagram)
}

/// Whether a plain handshake record has whole messages or fragments of sensible ones.
fn messages(mut body: &[u8]) -> Option<()> {
    if body.is_empty() {
        return None;
    }
    while !body.is_empty() {
        let header = body.get(..MESSAGE_HEADER)?;
        let length = u24(header.get(1..4)?);
        let offset = u24(header.get(6..9)?);
        let fragment = u24(header.get(9..12)?);
        if length > MESSAGE_MAX || offset + fragment > length || (fragment == 0 && length > 0) {
            return None;
        }
        body = body.get(MESSAGE_HEADER + fragment..)?;
    }
    Some(())
}

/// A fatal alert that is not encrypted, as it is understood by a peer that waits for our part of the handshake. Its record
/// number is one that the handshake cannot have come to.
pub(super) const fn plain_alert(number: u8) -> [u8; RECORD_HEADER + 2] {
    [ALERT, 0xfe, 0xfd, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 2, number]
}

/// Whether a datagram begins with a ClientHello of a client that knows DTLS 1.3. One that comes in pieces counts as such: only
/// the key shares of today's browsers are that long.
pub(super) fn offers_dtls13(bytes: &[u8]) -> bool {
    hello_offers_dtls13(bytes).unwrap_or(false)
}

fn hello_offers_dtls13(bytes: &[u8]) -> Option<bool> {
    const CLIENT_HELLO: u8 = 1;
    const SUPPORTED_VERSIONS: u16 = 43;
    const DTLS_13: [u8; 2] = [0xfe, 0xfc];
    let header = bytes.get(RECORD_HEADER..RECORD_HEADER + MESSAGE_HEADER)?;
    if *bytes.first()? != HANDSHAKE || header[0] != CLIENT_HELLO {
        return None;
    }
    let length = u24(header.get(1..4)?);
    let fragment = u24(header.get(9..12)?);
    if fragment < length {
        return Some(true);
    }
    let body = bytes.get(RECORD_HEADER + MESSAGE_HEADER..)?.get(..length)?;
    // Version and random; then session, cookie, cipher suites and compression methods, each after its length.
    let (_session, rest) = vector(body.get(34..)?, 1)?;
    let (_cookie, rest) = vector(rest, 1)?;
    let (_suites, rest) = vector(rest, 2)?;
    let (_compression, rest) = vector(rest, 1)?;
    let (mut extensions, _) = vector(rest, 2)?;
    while !extensions.is_empty() {
        let kind = u24(extensions.get(..2)?);
        let (extension, rest) = vector(extensions.get(2..)?, 2)?;
        if kind == usize::from(SUPPORTED_VERSIONS) {
            let (versions, _) = vector(extension, 1)?;
            return Some(versions.chunks_exact(2).any(|version| version == DTLS_13));
        }
        extensions = rest;
    }
    Some(false)
}

/// Whether a datagram may be the first that a peer sends of a handshake in which we have this role: a client begins with a
/// ClientHello, and a server answers with a ServerHello or asks for the hello once more. Nothing else makes a stranger one
/// who might be the peer.
pub(crate) fn begins_handshake(bytes: &[u8], role: DtlsRole) -> bool {
    const FIRST: [[u8; 2]; 2] = [[1, 1], [2, 3]];
    let wanted = FIRST[usize::from(role == DtlsRole::Client)];
    inspect(bytes).is_some_and(|datagram| datagram.alert.is_none())
        && bytes.first() == Some(&HANDSHAKE)
        && bytes.get(3..5) == Some(&[0, 0])
        && bytes
            .get(RECORD_HEADER)
            .is_some_and(|kind| wanted.contains(kind))
}

/// Whether a datagram begins with a client's very first message, or with the first piece of it: a hello without a cookie.
pub(super) fn is_first_hello(bytes: &[u8]) -> bool {
    // The header's type and number, and where in the message the piece stands.
    let header = bytes.get(RECORD_HEADER..RECORD_HEADER + MESSAGE_HEADER);
    begins_handshake(bytes, DtlsRole::Server)
        && header.is_some_and(|header| header[4..6] == [0, 0] && u24(&header[6..9]) == 0)
}

/// Whether a datagram is made of well-formed records, so that it may be the peer's.
pub(crate) fn is_dtls(bytes: &[u8]) -> bool {
    inspect(bytes).is_some()
}

/// What stands behind a length of so many bytes, and the rest.
fn vector(bytes: &[u8], width: usize) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_at_checked(width)?;
    rest.split_at_checked(u24(length))
}

fn u24(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .fold(0, |number, byte| number << 8 | usize::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::{Datagram, begins_handshake, inspect, plain_alert};
    use crate::leg::dtls::DtlsRole;

    fn record(kind: u8, epoch: u8, body: &[u8]) -> Vec<u8> {
        let mut record = vec![kind, 0xfe, 0xfd, 0, epoch, 0, 0, 0, 0, 0, 7];
        record.extend((body.len() as u16).to_be_bytes());
        record.extend(body);
        record
    }

    fn message(length: u32, offset: u32, fragment: &[u8]) -> Vec<u8> {
        let mut message = vec![1];
        message.extend(&length.to_be_bytes()[1..]);
        message.extend([0, 0]);
        message.extend(&offset.to_be_bytes()[1..]);
        message.extend(&(fragment.len() as u32).to_be_bytes()[1..]);
        message.extend(fragment);
        message
    }

    #[test]
    fn alerts_are_read_and_records_counted() {
        let mut datagram = record(22, 0, &message(4, 0, &[1, 2, 3, 4]));
        datagram.extend(record(20, 0, &[1]));
        datagram.extend(record(22, 1, &[9; 40]));
        assert_eq!(
            inspect(&datagram),
            Some(Datagram {
                records: 3,
                alert: None
            })
        );
        assert_eq!(
            inspect(&record(21, 0, &[2, 40])),
            Some(Datagram {
                records: 1,
                alert: Some(40)
            })
        );
        assert_eq!(
            inspect(&record(21, 0, &[1, 0])),
            Some(Datagram {
                records: 1,
                alert: Some(0)
            })
        );
        assert_eq!(
            inspect(&record(21, 0, &[1, 90])),
            Some(Datagram {
                records: 1,
                alert: None
            })
        );
        assert_eq!(
            inspect(&[0x2f, 1, 2, 3, 4, 5]),
            Some(Datagram {
                records: 1,
                alert: None
            })
        );
    }

    #[test]
    fn only_a_hello_begins_a_handshake() {
        let hello = record(22, 0, &message(4, 0, &[1, 2, 3, 4]));
        let mut answer = hello.clone();
        answer[13] = 2;
        assert!(begins_handshake(&hello, DtlsRole::Server));
        assert!(begins_handshake(&answer, DtlsRole::Client));
        for none in [
            &hello[..],
            &plain_alert(40),
            &[22],
            &[],
            &record(22, 1, &[9; 40]),
        ] {
            assert!(!begins_handshake(none, DtlsRole::Client), "{none:?}");
        }
        assert!(!begins_handshake(&answer, DtlsRole::Server));
        let followed = [&hello[..], &plain_alert(40)].concat();
        assert!(!begins_handshake(&followed, DtlsRole::Server));
    }

    #[test]
    fn what_is_no_record_is_dropped() {
        for bad in [
            vec![],
            vec![22],
            vec![22; 13],
            record(22, 0, &[]),
            record(22, 0, &[1; 11]),
            record(22, 0, &message(100_000, 0, &[1; 40])),
            record(22, 0, &message(10, 8, &[1; 4])),
            record(22, 0, &message(10, 4, &[])),
            record(22, 2, &[1; 40]),
            record(23, 0, &[1; 40]),
            record(20, 0, &[2]),
            record(21, 0, &[2]),
            record(21, 0, &[3, 40]),
            record(99, 0, &[2, 40]),
            record(22, 1, &[9; 40])[..50].to_vec(),
        ] {
            assert_eq!(inspect(&bad), None, "{bad:?}");
        }
    }
}
