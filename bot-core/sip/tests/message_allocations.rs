//! What reading a message may cost in allocations. The time is measured by `cargo bench -p callbot-sip --bench parse`.
// Every text here is the test's own.
#![allow(clippy::unwrap_used)]

#[path = "../benches/invite/mod.rs"]
mod invite;

use std::hint::black_box;

use bytes::Bytes;
use callbot_sip::{Decoded, Message, StreamDecoder};
use invite::INVITE;

/// A datagram as a socket hands it over: a buffer of its own, not yet shared with anything.
fn datagram() -> Bytes {
    Bytes::from(INVITE.as_bytes().to_vec())
}

fn read(datagram: Bytes) -> Message {
    let message = Message::parse(datagram).unwrap();
    let headers = message.headers();
    black_box(headers.via().unwrap().branch());
    black_box(headers.from().unwrap().tag());
    black_box(headers.to().unwrap().tag());
    black_box(headers.cseq().unwrap());
    black_box(headers.contact().unwrap().unwrap());
    assert_eq!(headers.routes().map(Result::unwrap).count(), 1);
    message
}

#[test]
fn the_invite_is_the_one_that_others_were_measured_with() {
    assert_eq!(INVITE.len(), 1_099);
    let message = Message::parse(datagram()).unwrap();
    message.check().unwrap();
    assert_eq!(message.to_bytes(), INVITE);
}

#[test]
fn reading_an_invite_and_its_typed_headers_takes_few_allocations() {
    let datagram = datagram();
    let used = allocation_counter::measure(|| drop(read(datagram)));
    // The aim is 10, the limit 15: the list of headers, and the count of who shares the buffer.
    assert!(used.count_total <= 3, "{} allocations", used.count_total);
    assert!(used.bytes_max <= 4_096, "{} bytes", used.bytes_max);
}

#[test]
fn taking_every_address_apart_takes_one_allocation_each() {
    let message = read(datagram());
    let headers = message.headers();
    let used = allocation_counter::measure(|| {
        for address in [headers.from(), headers.to()]
            .into_iter()
            .chain(headers.contacts())
            .chain(headers.routes())
        {
            black_box(address.unwrap().uri().unwrap());
        }
    });
    assert_eq!(used.count_total, 4);
    assert_eq!(
        allocation_counter::measure(|| message.check().unwrap()).count_total,
        0
    );
}

#[test]
fn cloning_copies_no_text_and_writing_allocates_once() {
    let message = read(datagram());
    let used = allocation_counter::measure(|| drop(black_box(message.clone())));
    assert!(used.count_total <= 1, "{} allocations", used.count_total);
    let used = allocation_counter::measure(|| drop(black_box(message.to_bytes())));
    assert!(used.count_total <= 2, "{} allocations", used.count_total);
}

#[test]
fn a_stream_costs_one_copy_more() {
    let mut decoder = StreamDecoder::new();
    decoder.extend(INVITE.as_bytes());
    assert!(matches!(decoder.next(), Ok(Some(Decoded::Message(_)))));
    let used = allocation_counter::measure(|| {
        decoder.extend(INVITE.as_bytes());
        assert!(matches!(decoder.next(), Ok(Some(Decoded::Message(_)))));
    });
    assert!(used.count_total <= 4, "{} allocations", used.count_total);
    assert_eq!(used.count_current, 0, "nothing stays behind");
}
