//! Two agents over a wire that loses, delays and translates addresses, with a clock that the test moves.

#![allow(clippy::unwrap_used)] // What fails here fails the test.
#![allow(clippy::disallowed_methods)] // The clock starts somewhere; from there the test moves it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use callbot_media::leg::ice::{
    IceAgent, IceCandidate, IceConfig, IceRemote, IceState, LOST_AFTER, credentials,
};

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

struct Side {
    agent: IceAgent,
    ufrag: String,
    pwd: String,
    lite: bool,
    candidates: Vec<IceCandidate>,
    /// A NAT before it: what it sends from the first address appears under the second.
    nat: Option<(SocketAddr, SocketAddr)>,
}

impl Side {
    fn new(
        now: Instant,
        seed: u8,
        controlling: bool,
        lite: bool,
        candidates: Vec<IceCandidate>,
    ) -> Self {
        let random: [u8; 24] = std::array::from_fn(|at| (at as u8).wrapping_mul(91) ^ seed);
        let (ufrag, pwd) = credentials(&random);
        let config = IceConfig {
            controlling,
            lite,
            ufrag: ufrag.clone(),
            pwd: pwd.clone(),
        };
        let mut agent = IceAgent::new(now, config);
        for candidate in &candidates {
            assert!(agent.add_local(candidate));
        }
        Self {
            agent,
            ufrag,
            pwd,
            lite,
            candidates,
            nat: None,
        }
    }

    fn described(&self) -> IceRemote {
        // By way of its written form, as in a description.
        let candidates = self
            .candidates
            .iter()
            .map(|candidate| candidate.to_string().parse().unwrap())
            .collect();
        IceRemote {
            ufrag: self.ufrag.clone(),
            pwd: self.pwd.clone(),
            lite: self.lite,
            candidates,
        }
    }
}

struct Wire {
    now: Instant,
    sides: [Side; 2],
    flying: Vec<(Instant, usize, SocketAddr, SocketAddr, Vec<u8>)>,
    random: Random,
    loss: u64,
    /// Whether the second side is gone.
    vanished: bool,
    /// Addresses to which nothing gets through.
    blocked: Vec<SocketAddr>,
    /// Addresses that nothing comes from either.
    cut: Vec<SocketAddr>,
    packets: usize,
}

impl Wire {
    fn new(now: Instant, one: Side, other: Side) -> Self {
        let mut wire = Self {
            now,
            sides: [one, other],
            flying: Vec::new(),
            random: Random(77),
            loss: 0,
            vanished: false,
            blocked: Vec::new(),
            cut: Vec::new(),
            packets: 0,
        };
        let (to_first, to_second) = (wire.sides[1].described(), wire.sides[0].described());
        wire.sides[0].agent.set_remote(to_first);
        wire.sides[1].agent.set_remote(to_second);
        wire
    }

    fn run_for(&mut self, span: Duration) {
        let end = self.now + span;
        while self.now < end {
            for from in 0..2 {
                while let Some(transmit) = self.sides[from].agent.poll_transmit() {
                    self.packets += 1;
                    if self.random.below(100) < self.loss
                        || self.blocked.contains(&transmit.destination)
                        || self.cut.contains(&transmit.destination)
                        || self.cut.contains(&transmit.local)
                    {
                        continue;
                    }
                    let mut source = transmit.local;
                    if let Some((inside, outside)) = self.sides[from].nat
                        && source == inside
                    {
                        source = outside;
                    }
                    let mut destination = transmit.destination;
                    match self.sides[1 - from].nat {
                        Some((inside, outside)) if destination == outside => destination = inside,
                        // What is behind a NAT cannot be reached directly.
                        Some((inside, _)) if destination == inside => continue,
                        _ => {}
                    }
                    let at = self.now + Duration::from_millis(10 + self.random.below(20));
                    self.flying.push((
                        at,
                        1 - from,
                        destination,
                        source,
                        transmit.payload.to_vec(),
                    ));
                }
            }
            let next = self
                .flying
                .iter()
                .map(|(at, ..)| *at)
                .chain(
                    self.sides
                        .iter_mut()
                        .filter_map(|side| side.agent.timeout()),
                )
                .min();
            self.now = next
                .unwrap_or(end)
                .max(self.now + Duration::from_millis(1))
                .min(end);
            let (due, later) = std::mem::take(&mut self.flying)
                .into_iter()
                .partition(|(at, ..)| *at <= self.now);
            self.flying = later;
            let due: Vec<_> = due;
            for (_, to, local, source, packet) in due {
                if !(self.vanished && to == 1) {
                    self.sides[to]
                        .agent
                        .handle_packet(self.now, local, source, &packet);
                }
            }
            for (at, side) in self.sides.iter_mut().enumerate() {
                if self.vanished && at == 1 {
                    while side.agent.poll_transmit().is_some() {}
                    continue;
                }
                if side
                    .agent
                    .timeout()
                    .is_none_or(|timeout| timeout <= self.now)
                {
                    side.agent.handle_timeout(self.now);
                }
            }
        }
    }

    /// Runs until both have a path; gives how long it took.
    fn connect(&mut self) -> Duration {
        let start = self.now;
        while self.sides.iter().any(|side| {
            side.agent.state() != IceState::Connected || side.agent.selected().is_none()
        }) {
            assert!(
                self.now - start < Duration::from_secs(10),
                "{:?} {:?}",
                self.sides[0].agent,
                self.sides[1].agent
            );
            self.run_for(Duration::from_millis(10));
        }
        self.now - start
    }

    fn paths(&self) -> [(SocketAddr, SocketAddr); 2] {
        [
            self.sides[0].agent.selected().unwrap(),
            self.sides[1].agent.selected().unwrap(),
        ]
    }
}

const A: &str = "192.0.2.1:4000";
const B: &str = "198.51.100.1:5000";

fn host(text: &str) -> Vec<IceCandidate> {
    vec![IceCandidate::host(address(text))]
}

#[test]
fn two_hosts_find_each_other_full_and_lite_in_every_combination_of_roles() {
    for (lite_one, lite_other) in [(false, false), (true, false), (false, true)] {
        for controlling in [(true, false), (false, true), (true, true), (false, false)] {
            let now = Instant::now();
            let one = Side::new(now, 1, controlling.0 && !lite_one, lite_one, host(A));
            let other = Side::new(now, 2, controlling.1 && !lite_other, lite_other, host(B));
            let mut wire = Wire::new(now, one, other);
            let took = wire.connect();
            wire.run_for(Duration::from_secs(3));
            assert_eq!(
                wire.paths(),
                [(address(A), address(B)), (address(B), address(A))]
            );
            assert!(
                took < Duration::from_millis(1500),
                "{lite_one} {lite_other} {controlling:?} took {took:?}"
            );
            let roles = [
                wire.sides[0].agent.is_controlling(),
                wire.sides[1].agent.is_controlling(),
            ];
            assert_ne!(
                roles[0], roles[1],
                "one chooses: {lite_one} {lite_other} {controlling:?}"
            );
            assert!(
                !(lite_one && roles[0] || lite_other && roles[1]),
                "a lite agent does not choose"
            );
        }
    }
}

#[test]
fn loss_only_costs_time() {
    for seed in 1..40 {
        let now = Instant::now();
        let mut wire = Wire::new(
            now,
            Side::new(now, 1, true, false, host(A)),
            Side::new(now, 2, false, false, host(B)),
        );
        wire.loss = 20;
        wire.random = Random(seed * 104_729);
        wire.connect();
        // A minute of a fifth lost does not end the path.
        wire.run_for(Duration::from_secs(60));
        assert_eq!(
            wire.sides[0].agent.state(),
            IceState::Connected,
            "seed {seed}"
        );
    }
}

#[test]
fn a_host_behind_a_nat_is_found_by_its_reflexive_address_or_without_it() {
    for told in [true, false] {
        let now = Instant::now();
        let (inside, outside) = (address("10.0.0.5:4000"), address("203.0.113.7:6000"));
        let mut candidates = vec![IceCandidate::host(inside)];
        if told {
            candidates.push(IceCandidate::server_reflexive(outside, inside));
        }
        let mut one = Side::new(now, 1, true, false, candidates);
        one.nat = Some((inside, outside));
        let mut wire = Wire::new(now, one, Side::new(now, 2, false, false, host(B)));
        wire.connect();
        wire.run_for(Duration::from_secs(2));
        assert_eq!(
            wire.paths(),
            [(inside, address(B)), (address(B), outside)],
            "told: {told}"
        );
    }
}

#[test]
fn a_relay_is_used_where_nothing_else_gets_through_and_only_there() {
    let relay = address("203.0.113.9:49152");
    for blocked in [false, true] {
        let now = Instant::now();
        let candidates = vec![
            IceCandidate::host(address(A)),
            IceCandidate::relayed(relay, address(A)),
        ];
        let mut wire = Wire::new(
            now,
            Side::new(now, 1, true, false, candidates),
            Side::new(now, 2, false, false, host(B)),
        );
        // The relay itself is played by the wire: what it sends from that address arrives, and what goes there too.
        if blocked {
            wire.blocked = vec![address(A)];
        }
        wire.connect();
        wire.run_for(Duration::from_secs(5));
        let local = if blocked { relay } else { address(A) };
        assert_eq!(
            wire.paths(),
            [(local, address(B)), (address(B), local)],
            "blocked: {blocked}"
        );
    }
}

#[test]
fn a_path_that_breaks_is_replaced_by_another() {
    let relay = address("203.0.113.9:49152");
    let now = Instant::now();
    let candidates = vec![
        IceCandidate::host(address(A)),
        IceCandidate::relayed(relay, address(A)),
    ];
    let mut wire = Wire::new(
        now,
        Side::new(now, 1, true, false, candidates),
        Side::new(now, 2, false, false, host(B)),
    );
    wire.connect();
    wire.run_for(Duration::from_secs(5));
    assert_eq!(wire.paths()[0].0, address(A));
    wire.cut = vec![address(A)];
    wire.run_for(Duration::from_secs(25));
    assert_eq!(wire.paths(), [(relay, address(B)), (address(B), relay)]);
}

#[test]
fn a_peer_that_vanished_is_noticed_and_one_that_stays_is_kept() {
    for lite in [false, true] {
        let now = Instant::now();
        let one = Side::new(now, 1, !lite, lite, host(A));
        let mut wire = Wire::new(now, one, Side::new(now, 2, lite, false, host(B)));
        wire.connect();
        let before = wire.packets;
        wire.run_for(Duration::from_secs(600));
        let per_minute = (wire.packets - before) / 10;
        assert_eq!(wire.sides[0].agent.state(), IceState::Connected);
        println!("lite {lite}: {per_minute} packets a minute keep a path");
        assert!(per_minute < 240, "{per_minute} packets a minute");
        wire.vanished = true;
        let gone = wire.now;
        while wire.sides[0].agent.state() == IceState::Connected {
            wire.run_for(Duration::from_millis(50));
            assert!(
                wire.now - gone <= LOST_AFTER,
                "lite {lite}: {:?}",
                wire.now - gone
            );
        }
        println!("lite {lite}: noticed after {:?}", wire.now - gone);
    }
}

#[test]
fn forged_and_damaged_packets_move_nothing_and_cost_bounded_memory() {
    for lite in [false, true] {
        let now = Instant::now();
        let mut one = Side::new(now, 1, !lite, lite, host(A));
        let mut other = Side::new(now, 2, lite, false, host(B));
        one.agent.set_remote(other.described());
        other.agent.set_remote(one.described());
        other.agent.handle_timeout(now + Duration::from_millis(60));
        let genuine: Vec<Vec<u8>> = std::iter::from_fn(|| other.agent.poll_transmit())
            .map(|t| t.payload.to_vec())
            .collect();
        assert!(!genuine.is_empty());
        let mut random = Random(3);
        for round in 0..100_000u64 {
            let mut packet = genuine[random.below(genuine.len() as u64) as usize].clone();
            for _ in 0..=random.below(3) {
                let at = random.below(packet.len() as u64) as usize;
                match random.below(3) {
                    0 => packet[at] ^= 1 << random.below(8),
                    1 => packet.truncate(at.max(1)),
                    _ => packet.insert(at, random.below(256) as u8),
                }
            }
            // The fingerprint at the end is not signed; damage there does no harm.
            if genuine.iter().any(|genuine| {
                packet.len() == genuine.len()
                    && packet[..packet.len() - 8] == genuine[..packet.len() - 8]
            }) {
                continue;
            }
            let source = SocketAddr::from(([203, 0, 113, 66], (round % 60_000) as u16 + 1));
            assert!(
                !one.agent.handle_packet(now, address(A), source, &packet),
                "{packet:?}"
            );
        }
        assert_eq!(one.agent.selected(), None);
        assert!(one.agent.refused() > 80_000, "{}", one.agent.refused());
        // What is added behind the signature is not read.
        let mut longer = genuine[0].clone();
        longer.truncate(longer.len() - 8);
        longer.extend([0, 0x25, 0, 0]);
        let length = (longer.len() - 20) as u16;
        longer[2..4].copy_from_slice(&length.to_be_bytes());
        assert!(
            !one.agent
                .handle_packet(now, address(A), address(B), &longer)
        );
        // Even with the password, from ever more addresses, there is an end to it.
        let mut accepted = 0;
        let counted = allocation_counter::measure(|| {
            for port in 1..5000u16 {
                let source = SocketAddr::from(([203, 0, 113, 66], port));
                accepted +=
                    usize::from(
                        one.agent
                            .handle_packet(now, address(A), source, &genuine[0]),
                    );
                while one.agent.poll_transmit().is_some() {}
            }
        });
        assert!(accepted <= 64, "{accepted}");
        assert!(
            counted.bytes_current < 200_000,
            "{} bytes",
            counted.bytes_current
        );
    }
}

#[test]
fn candidates_beyond_the_bound_and_those_that_cannot_be_used_are_ignored() {
    let now = Instant::now();
    let mut one = Side::new(now, 1, true, false, host(A));
    let other = Side::new(now, 2, false, false, host(B));
    let mut described = other.described();
    let useless = [
        "1 1 tcp 9 192.0.2.9 9 typ host tcptype active",
        "1 1 udp 9 x.local 9 typ host",
        "1 2 udp 9 192.0.2.9 9 typ host",
    ];
    let many = (0..10_000u16)
        .map(|at| format!("1 1 udp 9 10.0.{}.{} 4000 typ host", at / 250, at % 250 + 1));
    described
        .candidates
        .splice(0..0, useless.iter().map(|line| line.parse().unwrap()));
    described
        .candidates
        .extend(many.map(|line| line.parse().unwrap()));
    for _ in 0..3 {
        one.agent.set_remote(described.clone());
    }
    let mut sent = std::collections::HashSet::new();
    let mut time = now;
    for _ in 0..2000 {
        time += Duration::from_millis(50);
        one.agent.handle_timeout(time);
        while let Some(transmit) = one.agent.poll_transmit() {
            sent.insert(transmit.destination);
        }
    }
    assert!(sent.contains(&address(B)));
    assert!(sent.len() <= 64, "{}", sent.len());
}
