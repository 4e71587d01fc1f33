//! A whole user agent against a stranger who knows its messages: messages, timers and commands in any order.
//!
//! What must hold whatever comes: no panic; what one input causes is bounded;
//! each call ends once, with `Ended` as its last event; and when everything
//! was hung up and an hour has passed, no dialog, transaction or timer is left.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use callbot_sip::auth::Credentials;
use callbot_sip::ids::Ids;
use callbot_sip::ua::{
    Body, Config, Event, FailedTransport, FlowId, Invite, InviteId, OutOfDialog, Output, Protocol,
    Registration, RegistrationId, ServerRequestId, Source, Target, UserAgent,
};
use callbot_sip::{Header, Message, Method, Uri};

use crate::talk;

const OURS: ([u8; 4], u16) = ([10, 0, 0, 1], 5060);
const THEIRS: ([u8; 4], u16) = ([10, 0, 0, 9], 5060);
/// Things done in one game.
const MOVES: usize = 120;
/// Messages that one input may cause, for each call, transaction and registration that stands.
const ANSWERS: usize = 4;
/// What the user agent said last, which the stranger may answer.
const HEARD: usize = 24;
const SDP: &str = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";

/// Plays one game by these bytes.
pub fn user_agent(data: &[u8]) {
    let mut game = Game::new();
    let mut u = Unstructured::new(data);
    for _ in 0..MOVES {
        if u.is_empty() || game.play(&mut u).is_err() {
            break;
        }
    }
    game.end();
}

struct Game {
    agent: UserAgent,
    now: Instant,
    deadline: Option<Instant>,
    heard: Vec<Message>,
    /// Calls whose end was not told.
    calls: BTreeSet<InviteId>,
    ended: BTreeSet<InviteId>,
    asked: Vec<ServerRequestId>,
    registered: Vec<RegistrationId>,
}

impl Game {
    fn new() -> Self {
        let config = Config {
            max_calls: 12,
            max_transactions: 200,
            ..Config::default()
        };
        // A game begins somewhere; only differences count.
        #[allow(clippy::disallowed_methods)]
        let now = Instant::now();
        Self {
            agent: UserAgent::new(config, Ids::from_seed(7)),
            now,
            deadline: None,
            heard: Vec::new(),
            calls: BTreeSet::new(),
            ended: BTreeSet::new(),
            asked: Vec::new(),
            registered: Vec::new(),
        }
    }

    fn play(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let before = self.agent.counts();
        let now = self.now;
        match u.int_in_range(0..=24u8)? {
            0..=5 => {
                let datagram = talk::request(u, &self.heard)?;
                self.receive(u, datagram)?;
            }
            6..=10 => {
                if let Some(datagram) = talk::response(u, &self.heard)? {
                    self.receive(u, datagram)?;
                }
            }
            11 => {
                let length = u.int_in_range(0..=300usize)?.min(u.len());
                let datagram = u.bytes(length)?.to_vec();
                self.receive(u, datagram)?;
            }
            12..=14 => {
                let step = *u.choose(&[1u64, 100, 500, 4_000, 32_000, 70_000, 200_000])?;
                self.pass(Duration::from_millis(step));
                return Ok(());
            }
            15 => {
                let mut invite = Invite::new(target(u)?, uri()?, "<sip:bot@10.0.0.1>");
                invite.body = u.ratio(3, 4)?.then(|| Body::sdp(SDP));
                invite.follow_redirects = u.arbitrary()?;
                invite.credentials = u.ratio(1, 2)?.then(|| Credentials::new("a", "b"));
                if let Ok(id) = self.agent.invite(now, invite) {
                    self.calls.insert(id);
                }
            }
            16 => {
                let mut registration = Registration::new(target(u)?, uri()?, uri()?);
                registration.credentials = u.ratio(1, 2)?.then(|| Credentials::new("a", "b"));
                registration.expires = Duration::from_secs(u.int_in_range(0..=100)?);
                if self.registered.len() < 4
                    && let Ok(id) = self.agent.register(now, registration)
                {
                    self.registered.push(id);
                }
            }
            17 => {
                let method = u.choose(&[Method::Options, Method::Message])?.clone();
                let request = OutOfDialog::new(target(u)?, method, uri()?, "<sip:bot@10.0.0.1>");
                let _ = self.agent.request(now, request);
            }
            18 => {
                let failed = match u.int_in_range(0..=1u8)? {
                    0 => FailedTransport::flow(FlowId(u.int_in_range(1..=3)?)),
                    _ => FailedTransport::peer(Protocol::Udp, THEIRS.into()),
                };
                self.agent
                    .transport_failed(now, &failed, "broken".to_owned());
            }
            19 => {
                if let Some(id) = pick(u, &mut self.asked)? {
                    let status = *u.choose(&[200u16, 202, 405, 489, 700, 99])?;
                    let _ = self.agent.respond(now, id, status, Vec::new(), None);
                }
            }
            _ => self.command(u)?,
        }
        self.drain(before.calls + before.transactions + before.registrations);
        Ok(())
    }

    /// Something with a call: one that stands, ended, or never was.
    fn command(&mut self, u: &mut Unstructured<'_>) -> Result<()> {
        let now = self.now;
        let calls: Vec<InviteId> = self
            .calls
            .iter()
            .chain(self.ended.iter().take(2))
            .copied()
            .collect();
        let Some(id) = calls.get(u.choose_index(calls.len().max(1))?).copied() else {
            return Ok(());
        };
        let body = u.ratio(3, 4)?.then(|| Body::sdp(SDP));
        let agent = &mut self.agent;
        // That a command does not fit is an answer, too.
        let _ = match u.int_in_range(0..=11u8)? {
            0 => agent.ring(
                now,
                id,
                *u.choose(&[180u16, 183, 199, 100, 200])?,
                Vec::new(),
                body,
            ),
            1 | 2 => agent.accept(now, id, Vec::<Header>::new(), body),
            3 => agent.reject(
                now,
                id,
                *u.choose(&[302u16, 486, 603, 200])?,
                None,
                Vec::new(),
            ),
            4 => agent.bye(now, id, Vec::new()),
            5 => agent.cancel(now, id),
            6 => agent.reinvite(now, id, body).map(drop),
            7 => agent.accept_reinvite(now, id, body),
            8 => agent.reject_reinvite(now, id, 488),
            9 => agent.info(now, id, Body::new("text/plain", "i")),
            10 => agent.probe(now, id),
            _ => agent.ack(now, id, body),
        };
        Ok(())
    }

    fn receive(&mut self, u: &mut Unstructured<'_>, datagram: Vec<u8>) -> Result<()> {
        let flow = u.int_in_range(0..=4u64)?;
        let source = Source {
            protocol: if flow < 2 {
                Protocol::Udp
            } else {
                Protocol::Tcp
            },
            local: OURS.into(),
            remote: THEIRS.into(),
            flow: (flow >= 2).then(|| FlowId(flow - 1)),
            advertised: OURS.into(),
        };
        self.agent
            .receive_datagram(self.now, &source, Bytes::from(datagram));
        Ok(())
    }

    /// Lets time pass, waking the user agent whenever it asks for it.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        let mut wakes = 0;
        while let Some(deadline) = self.deadline.filter(|deadline| *deadline <= end) {
            self.now = self.now.max(deadline);
            let stands = self.agent.counts();
            self.agent.handle_timeout(self.now);
            self.drain(stands.calls + stands.transactions + stands.registrations);
            wakes += 1;
            assert!(wakes < 100_000, "it asks to be woken without end");
        }
        self.now = end;
    }

    /// Takes what the user agent says; `stands` bounds how much that may be.
    fn drain(&mut self, stands: usize) {
        let (mut messages, mut told) = (0, 0);
        loop {
            match self.agent.poll_output() {
                Output::Transmit(transmit) => {
                    messages += 1;
                    assert!(
                        transmit.payload.len() < 65_536,
                        "a message that no datagram holds"
                    );
                    let message =
                        Message::parse(transmit.payload.clone()).unwrap_or_else(|error| {
                            panic!(
                                "what it says cannot be read: {error}\n{:?}",
                                transmit.payload
                            )
                        });
                    if let Some(transaction) = transmit.transaction
                        && transmit.target.protocol.is_reliable()
                    {
                        self.agent
                            .bound(transaction, THEIRS.into(), Some(FlowId(1)));
                    }
                    if self.heard.len() >= HEARD {
                        self.heard.remove(0);
                    }
                    self.heard.push(message);
                }
                Output::Event(event) => {
                    told += 1;
                    self.on_event(event);
                }
                Output::Timeout(deadline) => {
                    self.deadline = deadline;
                    break;
                }
            }
        }
        let most = ANSWERS * (stands + 2);
        assert!(
            messages <= most,
            "{messages} messages where {stands} things stood"
        );
        assert!(told <= most, "{told} events where {stands} things stood");
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Incoming { invite, .. } => {
                assert!(self.calls.insert(invite), "a call came twice");
            }
            Event::Ended { invite, .. } => {
                assert!(
                    self.calls.remove(&invite),
                    "a call ended that never was, or twice"
                );
                self.ended.insert(invite);
            }
            Event::Request { id, .. } => {
                self.asked.push(id);
                if self.asked.len() > 64 {
                    self.asked.remove(0);
                }
            }
            _ => {}
        }
    }

    /// Hangs up, takes back and waits: nothing may be left.
    fn end(mut self) {
        self.drain(usize::MAX / 8 - 2);
        for id in std::mem::take(&mut self.registered) {
            let _ = self.agent.unregister(self.now, id);
            self.drain(200);
        }
        // A redirect or an answer may still make calls of what is under way.
        for _ in 0..4 {
            for id in self.calls.clone() {
                let _ = self.agent.bye(self.now, id, Vec::new());
                self.drain(200);
            }
            self.pass(Duration::from_secs(900));
        }
        let left = self.agent.counts();
        assert_eq!(left, Default::default(), "an hour later something is left");
        assert!(self.calls.is_empty(), "{:?} never ended", self.calls);
    }
}

fn uri() -> Result<Uri> {
    "sip:x@10.0.0.9"
        .parse()
        .map_err(|_| arbitrary::Error::IncorrectFormat)
}

fn target(u: &mut Unstructured<'_>) -> Result<Target> {
    let protocol = *u.choose(&[Protocol::Udp, Protocol::Udp, Protocol::Tcp])?;
    let (theirs, ours): (SocketAddr, SocketAddr) = (THEIRS.into(), OURS.into());
    Ok(Target::direct(protocol, theirs, ours))
}

fn pick<T: Copy>(u: &mut Unstructured<'_>, list: &mut Vec<T>) -> Result<Option<T>> {
    if list.is_empty() {
        return Ok(None);
    }
    let at = u.choose_index(list.len())?;
    Ok(Some(list.remove(at)))
}
