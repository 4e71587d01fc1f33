//! scratch
use bytes::Bytes;
use callbot_sip::*;

#[test]
fn reads_an_invite() {
    let text = "INVITE sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP a.example.com:5060;branch=z9hG4bK1;rport\r\nf: \"A <sip:evil@x>\" <sip:a@b>;tag=1\r\nt: <sip:bob@example.com>\r\ni: 1@a\r\nCSeq: 1 INVITE\r\nm: <sip:a@[2001:db8::1]:5070;transport=tcp>\r\nl: 4\r\n\r\nabcdef";
    let message = Message::parse(Bytes::from(text)).unwrap();
    message.check().unwrap();
    assert_eq!(message.body().as_ref(), b"abcd");
    assert_eq!(message.headers().from().unwrap().uri, "sip:a@b");
    assert_eq!(message.headers().via().unwrap().rport(), Some(None));
    let uri = message.headers().contact().unwrap().unwrap().uri().unwrap();
    assert_eq!((uri.host(), uri.port(), uri.transport()), ("2001:db8::1", Some(5070), Some("tcp")));
    let again = Message::parse(message.to_bytes()).unwrap();
    assert_eq!(again.headers().get(&HeaderName::ContentLength), Some("4"));
}
