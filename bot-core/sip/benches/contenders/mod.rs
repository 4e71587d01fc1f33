//! Reading one INVITE and its typed Via, From, To, CSeq, Contact and Route, by callbot-sip, rsip and rsipstack.
//!
//! Every contender starts from the same bytes and ends with the parts that a user agent needs.

use std::hint::black_box;

use bytes::Bytes;

/// The whole of what the contract measures. The buffer is cloned from one that was received, which costs no copy.
pub(crate) fn callbot(datagram: &Bytes) {
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

/// The crate rsip.
pub(crate) fn rsip(datagram: &Bytes) {
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

/// The crate rsipstack, whose messages are a fork of rsip's.
pub(crate) fn rsipstack(datagram: &Bytes) {
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
