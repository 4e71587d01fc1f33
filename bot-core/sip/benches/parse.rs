//! Reading one 1,099-byte INVITE and its typed Via, From, To, CSeq, Contact and Route, beside other parsers.
//!
//! `cargo bench -p callbot-sip --bench parse`. Every contender starts from the same bytes and ends with the parts that a
//! user agent needs: host and branch of the Via, URI and tag of From and To, number and method of the CSeq, the URIs of
//! Contact and Route.

mod invite;

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use invite::INVITE;

/// The whole of what the contract measures. The buffer is cloned from one that was received, which costs no copy.
fn callbot(datagram: &Bytes) {
    let message = callbot_sip::Message::parse(datagram.clone()).expect("the INVITE is valid");
    let headers = message.headers();
    let via = headers.via().expect("the Via is valid");
    black_box((via.host, via.branch()));
    let from = headers.from().expect("the From is valid");
    black_box((from.uri, from.tag()));
    let to = headers.to().expect("the To is valid");
    black_box((to.uri, to.tag()));
    black_box(headers.cseq().expect("the CSeq is valid"));
    black_box(
        headers
            .contact()
            .expect("there is a Contact")
            .expect("the Contact is valid"),
    );
    for route in headers.routes() {
        black_box(route.expect("the Route is valid"));
    }
}

/// The same, and every address taken apart as well.
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

fn rsip(datagram: &Bytes) {
    use rsip::headers::ToTypedHeader as _;
    use rsip::message::{HasHeaders as _, HeadersExt as _};
    let message = rsip::SipMessage::try_from(datagram.clone()).expect("the INVITE is valid");
    black_box(
        message
            .via_header()
            .expect("Via")
            .typed()
            .expect("the Via is valid"),
    );
    black_box(
        message
            .from_header()
            .expect("From")
            .typed()
            .expect("the From is valid"),
    );
    black_box(
        message
            .to_header()
            .expect("To")
            .typed()
            .expect("the To is valid"),
    );
    black_box(
        message
            .cseq_header()
            .expect("CSeq")
            .typed()
            .expect("the CSeq is valid"),
    );
    black_box(
        message
            .contact_header()
            .expect("Contact")
            .typed()
            .expect("the Contact is valid"),
    );
    for header in message.headers().iter() {
        if let rsip::Header::Route(route) = header {
            black_box(route.typed().expect("the Route is valid"));
        }
    }
}

fn rsipstack(datagram: &Bytes) {
    use rsipstack::sip::HeadersExt as _;
    use rsipstack::sip::headers::ToTypedHeader as _;
    let message =
        rsipstack::sip::SipMessage::try_from(datagram.clone()).expect("the INVITE is valid");
    black_box(
        message
            .via_header()
            .expect("Via")
            .typed()
            .expect("the Via is valid"),
    );
    black_box(
        message
            .from_header()
            .expect("From")
            .typed()
            .expect("the From is valid"),
    );
    black_box(
        message
            .to_header()
            .expect("To")
            .typed()
            .expect("the To is valid"),
    );
    black_box(
        message
            .cseq_header()
            .expect("CSeq")
            .typed()
            .expect("the CSeq is valid"),
    );
    black_box(
        message
            .contact_header()
            .expect("Contact")
            .typed()
            .expect("the Contact is valid"),
    );
    black_box(message.typed_route_headers().expect("the Route is valid"));
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
