//! Allocations against a server of a few lines, by a clock that is moved.

use stun_proto::types::attribute::{AttributeType, ErrorCode, Nonce, Realm};
use stun_proto::types::message::{IntegrityAlgorithm, LongTermKeyCredentials, MessageWriteVec};
use stun_proto::types::prelude::{AttributeStaticType, MessageWrite, MessageWriteExt};
use turn_client_proto::types::attribute::{Data, Lifetime, XorPeerAddress, XorRelayedAddress};
use turn_client_proto::types::message::{
    ALLOCATE, CHANNEL_BIND, CREATE_PERMISSION, DATA, REFRESH, SEND,
};

use super::*;

const RELAYED: &str = "203.0.113.9:49152";
const PEER: &str = "198.51.100.7:4000";

/// What a server does, and what it was asked.
struct Server {
    now: Instant,
    refuses: Option<u16>,
    forbids: bool,
    password: &'static str,
    asked: Vec<String>,
    relayed: Vec<Vec<u8>>,
    channel: Option<u16>,
    is_stream: bool,
}

impl Server {
    fn new(is_stream: bool) -> (Self, Allocation) {
        let now = Instant::now();
        let line = Line {
            local: "192.0.2.5:5000".parse().unwrap(),
            server: "192.0.2.1:3478".parse().unwrap(),
            is_stream,
        };
        let server = Self {
            now,
            refuses: None,
            forbids: false,
            password: "secret",
            asked: Vec::new(),
            relayed: Vec::new(),
            channel: None,
            is_stream,
        };
        (
            server,
            Allocation::new(now, line, ("alice", "secret"), false),
        )
    }

    /// Lets time pass, with answers to what is asked meanwhile.
    fn run(&mut self, allocation: &mut Allocation, time: Duration) {
        let end = self.now + time;
        let mut out = Vec::new();
        while self.now < end {
            while allocation.poll_transmit(self.now, &mut out) {
                self.take(allocation, &out);
            }
            let step = Duration::from_millis(if time > Duration::from_secs(60) {
                500
            } else {
                10
            });
            self.now += step;
        }
    }

    fn take(&mut self, allocation: &mut Allocation, packet: &[u8]) {
        if self.is_stream {
            assert!(packet.len().is_multiple_of(4), "padded");
        }
        if let Some(channel) = self.channel
            && packet[..2] == channel.to_be_bytes()
        {
            let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
            self.relayed.push(packet[4..4 + length].to_vec());
            self.asked.push("channel data".to_owned());
            return;
        }
        let message = Message::from_bytes(packet).unwrap();
        let method = message.method();
        if method == SEND {
            let data = message.attribute::<Data<'_>>().unwrap();
            self.relayed.push(data.data().to_vec());
            self.asked.push("send".to_owned());
            return;
        }
        let key = LongTermKeyCredentials::new(
            "alice".to_owned(),
            self.password.to_owned(),
            "test".to_owned(),
        );
        let authentic = message.validate_integrity(&key.clone().into()).is_ok();
        let answer = if !authentic {
            let mut answer = Message::builder_error(&message, MessageWriteVec::new());
            answer
                .add_attribute(&ErrorCode::new(401, "Unauthorized").unwrap())
                .unwrap();
            answer.add_attribute(&Realm::new("test").unwrap()).unwrap();
            answer.add_attribute(&Nonce::new("nonce").unwrap()).unwrap();
            answer
        } else {
            let refused = match method {
                ALLOCATE => self.refuses,
                CREATE_PERMISSION | CHANNEL_BIND => self.forbids.then_some(403),
                _ => None,
            };
            let mut answer = match refused {
                Some(code) => {
                    let mut answer = Message::builder_error(&message, MessageWriteVec::new());
                    let reason = ErrorCode::default_reason_for_code(code);
                    answer
                        .add_attribute(&ErrorCode::new(code, reason).unwrap())
                        .unwrap();
                    answer
                }
                None => Message::builder_success(&message, MessageWriteVec::new()),
            };
            if method == ALLOCATE && refused.is_none() {
                let relayed =
                    XorRelayedAddress::new(RELAYED.parse().unwrap(), message.transaction_id());
                answer.add_attribute(&relayed).unwrap();
                answer.add_attribute(&Lifetime::new(600)).unwrap();
            }
            if method == REFRESH {
                let lifetime = message.attribute::<Lifetime>().unwrap().seconds();
                answer
                    .add_attribute(&Lifetime::new(lifetime.min(600)))
                    .unwrap();
                self.asked.push(format!("refresh {}", lifetime.min(600)));
            }
            if method == CHANNEL_BIND {
                const CHANNEL_NUMBER: AttributeType = AttributeType::new(0x000c);
                let number = message.raw_attribute(CHANNEL_NUMBER).unwrap();
                self.channel = Some(u16::from_be_bytes([number.value[0], number.value[1]]));
            }
            answer
                .add_message_integrity(&key.into(), IntegrityAlgorithm::Sha1)
                .unwrap();
            answer
        };
        if method != REFRESH {
            self.asked.push(method.name().to_ascii_lowercase());
        }
        allocation.receive(self.now, &answer.finish(), |_, _| panic!("no datagram"));
    }

    fn deliver(&self, allocation: &mut Allocation, packet: &[u8]) -> Vec<(SocketAddr, Vec<u8>)> {
        let mut delivered = Vec::new();
        allocation.receive(self.now, packet, |peer, data| {
            delivered.push((peer, data.to_vec()));
        });
        delivered
    }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn an_address_is_got_kept_used_and_given_back() {
    for is_stream in [false, true] {
        let (mut server, mut allocation) = Server::new(is_stream);
        server.run(&mut allocation, secs(1));
        assert_eq!(
            *allocation.state(),
            State::Ready(RELAYED.parse().unwrap()),
            "{:?}",
            server.asked
        );
        assert_eq!(server.asked, ["allocate", "allocate"]);

        // A check waits for the permission, then goes by itself.
        let peer: SocketAddr = PEER.parse().unwrap();
        let mut out = Vec::new();
        assert!(!allocation.send(server.now, peer, &[0, 1, 2, 3, 4], &mut out));
        server.run(&mut allocation, secs(1));
        assert_eq!(server.asked[2..], ["create_permission", "send"]);
        assert_eq!(server.relayed, [[0, 1, 2, 3, 4]]);

        // Media has a channel as soon as the server gives one, and 36 bytes less.
        let media = [0x80; 173];
        assert!(allocation.send(server.now, peer, &media, &mut out));
        assert!(out.len() > 200);
        server.take(&mut allocation, &out);
        server.run(&mut allocation, secs(1));
        assert!(allocation.send(server.now, peer, &media, &mut out));
        assert_eq!(out.len(), if is_stream { 180 } else { 177 });
        server.take(&mut allocation, &out);
        assert_eq!(server.relayed[1..], [media, media]);

        // What comes by the channel, and by an indication from a permitted host.
        let mut packet = server.channel.unwrap().to_be_bytes().to_vec();
        packet.extend([0, 3, 7, 8, 9]);
        assert_eq!(
            server.deliver(&mut allocation, &packet),
            [(peer, vec![7, 8, 9])]
        );
        let other = SocketAddr::new(peer.ip(), 9);
        let mut indication = Message::builder_indication(DATA, MessageWriteVec::new());
        let from = XorPeerAddress::new(other, indication.transaction_id());
        indication.add_attribute(&from).unwrap();
        indication.add_attribute(&Data::new(b"hello")).unwrap();
        assert_eq!(
            server.deliver(&mut allocation, &indication.finish()),
            [(other, b"hello".to_vec())]
        );

        // An hour later all of it still stands.
        server.asked.clear();
        server.run(&mut allocation, secs(3600));
        let count = |server: &Server, what: &str| {
            server.asked.iter().filter(|asked| *asked == what).count()
        };
        assert!(count(&server, "refresh 600") >= 5, "{:?}", server.asked);
        assert!(count(&server, "refresh 600") <= 10, "{:?}", server.asked);
        assert!(allocation.send(server.now, peer, &media, &mut out));
        assert_eq!(out.len(), if is_stream { 180 } else { 177 });

        server.asked.clear();
        allocation.close(server.now);
        server.run(&mut allocation, secs(1));
        assert_eq!(server.asked, ["refresh 0"]);
        assert!(matches!(allocation.state(), State::Gone(_)));
    }
}

#[test]
fn a_refusal_has_its_cause() {
    for (refuses, password, cause) in [
        (Some(486), "secret", "486 Allocation Quota Reached"),
        (Some(508), "secret", "508"),
        (None, "another", "401 Unauthorized: wrong user or password"),
    ] {
        let (mut server, mut allocation) = Server::new(false);
        server.refuses = refuses;
        server.password = password;
        server.run(&mut allocation, secs(2));
        let State::Gone(why) = allocation.state() else {
            panic!("{cause}: {:?} {:?}", allocation.state(), server.asked);
        };
        assert!(why.starts_with(cause), "{why}");
        assert!(server.asked.len() <= 12, "{:?}", server.asked);
    }
}

#[test]
fn requests_are_repeated_and_given_up() {
    let (mut server, mut allocation) = Server::new(false);
    let mut out = Vec::new();
    let mut sent = Vec::new();
    let start = server.now;
    while *allocation.state() == State::Asking && server.now < start + secs(60) {
        if allocation.poll_transmit(server.now, &mut out) {
            sent.push(server.now.duration_since(start).as_millis());
        }
        server.now += Duration::from_millis(10);
    }
    assert_eq!(sent[..4], [0, 250, 750, 1750], "{sent:?}");
    assert!(sent.len() <= 8, "{sent:?}");
    let State::Gone(why) = allocation.state() else {
        panic!("{:?}", allocation.state());
    };
    assert!(why.contains("does not answer"), "{why}");
    // Late answers and packets of ours come to nothing.
    let peer = PEER.parse().unwrap();
    assert!(!allocation.send(server.now, peer, &[0x80; 20], &mut out));
}

#[test]
fn what_waits_for_a_permission_is_bounded_and_a_refusal_is_final() {
    let (mut server, mut allocation) = Server::new(false);
    server.run(&mut allocation, secs(1));
    server.forbids = true;
    let mut out = Vec::new();
    for n in 0..1000u16 {
        let peer = SocketAddr::new([198, 51, 100, (n % 50) as u8].into(), n + 1);
        assert!(!allocation.send(server.now, peer, &[0; 50], &mut out));
        assert!(allocation.waiting.len() <= WAITING);
    }
    server.run(&mut allocation, secs(30));
    assert!(
        allocation.waiting.is_empty(),
        "{}",
        allocation.waiting.len()
    );
    assert!(server.relayed.is_empty());
    assert_eq!(allocation.refused.len(), REFUSED);
    server.asked.clear();
    let peer = SocketAddr::new(allocation.refused[0], 5);
    assert!(!allocation.send(server.now, peer, &[0; 50], &mut out));
    server.run(&mut allocation, secs(2));
    assert!(server.asked.is_empty(), "{:?}", server.asked);
}

#[test]
fn whatever_the_server_sends_nothing_panics() {
    let (mut server, mut allocation) = Server::new(false);
    server.run(&mut allocation, secs(1));
    let mut indication = Message::builder_indication(DATA, MessageWriteVec::new());
    let from = XorPeerAddress::new(PEER.parse().unwrap(), indication.transaction_id());
    indication.add_attribute(&from).unwrap();
    indication.add_attribute(&Data::new(&[5; 40])).unwrap();
    let whole = indication.finish();
    let mut packets: Vec<Vec<u8>> = (0..=whole.len()).map(|n| whole[..n].to_vec()).collect();
    for place in 0..whole.len() {
        for value in [0, 1, 0x40, 0x7f, 0x80, 0xff] {
            let mut broken = whole.clone();
            broken[place] = value;
            packets.push(broken);
        }
    }
    for packet in packets {
        server.deliver(&mut allocation, &packet);
    }
    assert_eq!(Data::TYPE, AttributeType::new(0x0013));
    assert_eq!(*allocation.state(), State::Ready(RELAYED.parse().unwrap()));
}
