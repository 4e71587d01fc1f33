//! What can be taken of one audio m-line of a peer.
//!
//! Responsibility: payload types and their meaning (static numbers of RFC 3551, `rtpmap`), where the peer wants its media,
//! and how it wants it packed. Nothing here knows whether the line stands in an offer or in an answer.

use std::net::{IpAddr, SocketAddr};

use super::description::{Address, Description, Media, address, unspecified};
use super::ice::{self, RemoteIce};
use super::security::{self, MediaSecurity, Wish};
use super::{Capabilities, Direction, SdpError};
use crate::codec::{Codec, SendParameters, noise};

/// Payload types of something beside audio, each with its clock in hertz.
type Clocked = Vec<(u8, u32)>;

/// An audio m-line, understood.
#[derive(Debug, Clone)]
pub(super) struct Audio {
    /// The common codecs with the peer's payload types, in the peer's order, one entry a codec.
    pub(super) codecs: Vec<(u8, Codec)>,
    /// The peer's payload types for telephone-event.
    events: Clocked,
    /// The peer's payload types for comfort noise.
    noises: Clocked,
    /// What its format parameters say of the first codec.
    pub(super) send_parameters: SendParameters,
    pub(super) rtp: SocketAddr,
    pub(super) rtcp: SocketAddr,
    pub(super) rtcp_mux: bool,
    /// The peer's direction.
    pub(super) direction: Direction,
    /// What to send in each packet, in milliseconds.
    pub(super) ptime_ms: u32,
    /// How the peer wants it secured.
    pub(super) wish: Wish,
    /// The peer's ICE.
    pub(super) ice: Option<RemoteIce>,
    /// The m-line's name, where the peer gave it one (RFC 5888).
    pub(super) mid: Option<String>,
    /// Whether the m-line is part of a group that shares one transport (RFC 9143).
    pub(super) bundled: bool,
}

impl Audio {
    /// The telephone-event whose clock is the codec's. Another clock is left alone: browsers list telephone-event at
    /// 48 and 8 kHz, and events timed on another clock than the audio fall apart at the receiver.
    pub(super) fn event(&self, codec: Codec) -> Option<u8> {
        self.events
            .iter()
            .find(|(_, clock)| *clock == codec.clock_rate())
            .map(|(payload_type, _)| *payload_type)
    }

    /// The comfort noise whose clock is the codec's.
    pub(super) fn comfort_noise(&self, codec: Codec) -> Option<u8> {
        self.noises
            .iter()
            .find(|(_, clock)| *clock == codec.clock_rate())
            .map(|(payload_type, _)| *payload_type)
    }
}

/// Finds the audio m-line to take, and its index: the first secured one that can be taken, else the first plain one.
///
/// A peer that would rather encrypt sends a secure line and a plain one for the same audio, so a line that cannot be taken
/// does not end the search; the error then tells why the first one failed.
pub(super) fn find(
    description: &Description<'_>,
    capabilities: &Capabilities,
    security: &MediaSecurity,
) -> Result<(usize, Audio), SdpError> {
    let (mut first_error, mut plain) = (None, None);
    for (index, media) in description.media.iter().enumerate() {
        if !media.is_audio() {
            continue;
        }
        match understand(description, media, capabilities, security) {
            Ok(audio) if audio.wish.is_plain() => {
                plain.get_or_insert((index, audio));
            }
            Ok(audio) => return Ok((index, audio)),
            Err(error) => {
                first_error.get_or_insert(error);
            }
        }
    }
    plain.ok_or_else(|| first_error.unwrap_or(SdpError::NoAudio))
}

/// Reads one audio m-line, or says why it cannot be taken.
pub(super) fn understand(
    description: &Description<'_>,
    media: &Media<'_>,
    capabilities: &Capabilities,
    security: &MediaSecurity,
) -> Result<Audio, SdpError> {
    if media.port == 0 {
        return Err(SdpError::Refused(
            "the peer gives port 0 for it, which means that it wants none".into(),
        ));
    }
    let wish = security::wish(&description.session, media, security)?;
    let (codecs, events, noises) = formats(media, capabilities);
    let Some((payload_type, codec)) = codecs.first().copied() else {
        let ours: Vec<&str> = capabilities
            .codecs
            .iter()
            .map(|codec| codec.name())
            .collect();
        return Err(SdpError::Refused(format!(
            "no codec in common: the peer has {}, this side has {}",
            describe_formats(media),
            ours.join(", ")
        )));
    };
    let fmtp = media.section.of_payload_type("fmtp", payload_type);
    let send_parameters = codec.send_parameters(fmtp.unwrap_or_default());
    let connection = media.section.connection.or(description.session.connection);
    let ip = match connection {
        Some(Address::Ip(ip)) => ip,
        Some(Address::Name(_)) => IpAddr::from([0, 0, 0, 0]),
        None => {
            return Err(SdpError::Refused(
                "no `c=` line says where to send it; add one".into(),
            ));
        }
    };
    if ip.is_multicast() {
        return Err(SdpError::Refused(
            "its address is a multicast group; a call needs a unicast address".into(),
        ));
    }
    let rtp = SocketAddr::new(ip, media.port);
    let rtcp_mux = media.section.attribute("rtcp-mux").is_some();
    // A name that is repeated in our own body must be one (RFC 4566's token).
    let mid = media.section.attribute("mid").filter(|mid| {
        (1..=64).contains(&mid.len()) && mid.bytes().all(|byte| byte.is_ascii_graphic())
    });
    let mut direction = media
        .section
        .direction()
        .or(description.session.direction())
        .unwrap_or_default();
    let ice = ice::read(&description.session, media);
    // RFC 2543 had no other way to hold a call than this address; RFC 3264 section 8.4 keeps its meaning: send nothing here.
    // With ICE it means that there is no address yet, or that a browser hides it (RFC 8839 section 4.3.1).
    if ice.is_none() && matches!(connection, Some(Address::Ip(ip)) if ip.is_unspecified()) {
        direction = direction.and(Direction::SendOnly);
    }
    Ok(Audio {
        codecs,
        events,
        noises,
        send_parameters,
        rtp,
        rtcp: rtcp_address(media, rtp, rtcp_mux),
        rtcp_mux,
        direction,
        ptime_ms: codec.packet_ms(packet_time(description, media, capabilities)),
        wish,
        ice,
        bundled: mid.is_some_and(|mid| {
            description.session.all("group").any(|group| {
                let mut words = group.split_ascii_whitespace();
                words
                    .next()
                    .is_some_and(|word| word.eq_ignore_ascii_case("BUNDLE"))
                    && words.any(|word| word == mid)
            })
        }),
        mid: mid.map(str::to_owned),
    })
}

/// Codecs in common, telephone-events and comfort noises, in the peer's order.
fn formats(media: &Media<'_>, capabilities: &Capabilities) -> (Vec<(u8, Codec)>, Clocked, Clocked) {
    let mut codecs: Vec<(u8, Codec)> = Vec::new();
    let (mut events, mut noises) = (Clocked::new(), Clocked::new());
    for payload_type in media.payload_types() {
        let taken = |pt: u8| {
            codecs.iter().any(|(known, _)| *known == pt)
                || events.iter().any(|(known, _)| *known == pt)
                || noises.iter().any(|(known, _)| *known == pt)
        };
        if taken(payload_type) {
            continue;
        }
        match meaning(media, payload_type) {
            Some(Meaning::Audio(codec))
                if capabilities.codecs.contains(&codec)
                    && !codecs.iter().any(|(_, known)| *known == codec) =>
            {
                codecs.push((payload_type, codec));
            }
            Some(Meaning::Event(clock)) if capabilities.telephone_event => {
                events.push((payload_type, clock));
            }
            Some(Meaning::Noise(clock)) => noises.push((payload_type, clock)),
            _ => {}
        }
    }
    (codecs, events, noises)
}

/// What a payload type of an m-line means.
enum Meaning {
    Audio(Codec),
    Event(u32),
    Noise(u32),
}

/// The meaning of a payload type: an rtpmap says it, also of a static number; without one the static table does.
fn meaning(media: &Media<'_>, payload_type: u8) -> Option<Meaning> {
    let Some(map) = media.section.of_payload_type("rtpmap", payload_type) else {
        if payload_type == noise::PAYLOAD_TYPE {
            return Some(Meaning::Noise(noise::CLOCK_RATE));
        }
        return Codec::from_static_payload_type(payload_type).map(Meaning::Audio);
    };
    let mut parts = map.split('/').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let clock: u32 = parts
        .next()
        .and_then(|clock| clock.parse().ok())
        .unwrap_or(8_000);
    let channels: u32 = parts
        .next()
        .and_then(|count| count.parse().ok())
        .unwrap_or(1);
    if name.eq_ignore_ascii_case("telephone-event") {
        return Some(Meaning::Event(clock));
    }
    if name.eq_ignore_ascii_case("CN") {
        return Some(Meaning::Noise(clock));
    }
    Codec::ALL
        .into_iter()
        .find(|codec| codec.is_mapped(name, clock, channels))
        .map(Meaning::Audio)
}

/// The peer's formats in words, for the error that refuses them.
fn describe_formats(media: &Media<'_>) -> String {
    let names: Vec<String> = media
        .payload_types()
        .filter(|payload_type| {
            !matches!(
                meaning(media, *payload_type),
                Some(Meaning::Event(_) | Meaning::Noise(_))
            )
        })
        .take(12)
        .map(|payload_type| {
            media
                .section
                .of_payload_type("rtpmap", payload_type)
                .map(|map| {
                    map.chars()
                        .filter(|c| c.is_ascii_graphic())
                        .take(24)
                        .collect()
                })
                .or_else(|| {
                    Codec::from_static_payload_type(payload_type)
                        .map(|codec| codec.rtpmap().to_owned())
                })
                .unwrap_or_else(|| format!("payload type {payload_type}"))
        })
        .collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}

/// Where RTCP goes: `a=rtcp` (RFC 3605), the RTP port when shared, else the next port.
fn rtcp_address(media: &Media<'_>, rtp: SocketAddr, mux: bool) -> SocketAddr {
    if mux {
        return rtp;
    }
    let next = SocketAddr::new(rtp.ip(), rtp.port().checked_add(1).unwrap_or(rtp.port()));
    let Some(value) = media.section.attribute("rtcp") else {
        return next;
    };
    let mut words = value.split_ascii_whitespace();
    let Some(port) = words
        .next()
        .and_then(|port| port.parse::<u16>().ok())
        .filter(|port| *port != 0)
    else {
        return next;
    };
    let (_, family, host) = (words.next(), words.next(), words.next());
    let ip = match address(family.unwrap_or_default(), host.unwrap_or_default()) {
        Some(Address::Ip(ip)) if !ip.is_multicast() => ip,
        Some(Address::Name(_)) => unspecified(rtp.ip()),
        _ => rtp.ip(),
    };
    SocketAddr::new(ip, port)
}

/// The audio to put in each packet: what the peer asks for, within what it can take and what a frame allows.
fn packet_time(
    description: &Description<'_>,
    media: &Media<'_>,
    capabilities: &Capabilities,
) -> u32 {
    let read = |name: &str| {
        media
            .section
            .attribute(name)
            .or_else(|| description.session.attribute(name))
            // Some peers write `a=ptime:20.0`.
            .and_then(|text| {
                text.split(|c: char| !c.is_ascii_digit())
                    .next()?
                    .parse::<u32>()
                    .ok()
            })
            .filter(|milliseconds| *milliseconds > 0)
    };
    let wanted = read("ptime").unwrap_or(capabilities.ptime_ms);
    let most = read("maxptime").unwrap_or(u32::MAX);
    wanted.min(most)
}
