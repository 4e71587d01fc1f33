//! Reading one 1,099-byte INVITE and its typed Via, From, To, CSeq, Contact and Route, beside other parsers.
//!
//! `cargo bench -p callbot-sip --bench parse`. Every contender starts from the same bytes and ends with the parts that a
//! user agent needs: host and branch of the Via, URI and tag of From and To, number and method of the CSeq, the URIs of
//! Contact and Route.

mod contenders;
mod invite;

use std::hint::black_box;

use bytes::Bytes;
use contenders::{callbot, rsip, rsipstack};
use criterion::{Criterion, criterion_group, criterion_main};
use invite::INVITE;

/// What [`contenders::callbot`] does, and every address taken apart as well.
fn callbot_with_uris(datagram: &Bytes) {
    let message = callbot_sip::Message::parse(datagram.clone()).expect("the INVITE is valid");
    let headers = message.headers();
    black_box(headers.via().expect("the Via is valid"));
    black_box(headers.cseq().expect("the CSeq is valid"));
    for address in [
        headers.from(),
        headers.to(),
        headers.contact().expect("there is a Contact"),
    ] {
        black_box(
            address
                .expect("the address is valid")
                .uri()
                .expect("the URI is valid"),
        );
    }
    for route in headers.routes() {
        black_box(
            route
                .expect("the Route is valid")
                .uri()
                .expect("the URI is valid"),
        );
    }
}

fn parse(criterion: &mut Criterion) {
    assert_eq!(INVITE.len(), 1_099);
    let datagram = Bytes::from(INVITE.as_bytes().to_vec());
    let mut group = criterion.benchmark_group("invite");
    group.bench_function("callbot", |bencher| bencher.iter(|| callbot(&datagram)));
    group.bench_function("callbot, parse alone", |bencher| {
        bencher.iter(|| black_box(callbot_sip::Message::parse(datagram.clone())))
    });
    group.bench_function("callbot, addresses taken apart", |bencher| {
        bencher.iter(|| callbot_with_uris(&datagram))
    });
    group.bench_function("callbot, write", |bencher| {
        let message = callbot_sip::Message::parse(datagram.clone()).expect("the INVITE is valid");
        bencher.iter(|| black_box(message.to_bytes()))
    });
    group.bench_function("rsip", |bencher| bencher.iter(|| rsip(&datagram)));
    group.bench_function("rsipstack", |bencher| bencher.iter(|| rsipstack(&datagram)));
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
