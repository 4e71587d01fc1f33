//! SRTP on the wire: against rtc-srtp, which is another implementation, and against loss, reordering, replays and damage.

#![allow(clippy::unwrap_used)] // What fails here fails the test.

use std::collections::HashSet;

use callbot_media::leg::srtp::{MasterKey, Profile, SrtpError, SrtpReceiver, SrtpSender};
use rtc_dtls::crypto_provider::default_provider;
use rtc_srtp::context::Context;
use rtc_srtp::protection_profile::ProtectionProfile;

fn master(profile: Profile, seed: u8) -> MasterKey {
    let bytes: Vec<u8> = (0..profile.key_length() + profile.salt_length())
        .map(|at| (at as u8).wrapping_mul(37) ^ seed)
        .collect();
    MasterKey::from_bytes(profile, &bytes).unwrap()
}

fn pair(profile: Profile) -> (SrtpSender, SrtpReceiver) {
    let master = master(profile, 1);
    (
        SrtpSender::new(profile, &master).unwrap(),
        SrtpReceiver::new(profile, &master).unwrap(),
    )
}

fn witness(profile: Profile) -> Context {
    let theirs = match profile {
        Profile::Aes128CmSha1_80 => ProtectionProfile::Aes128CmHmacSha1_80,
        Profile::Aes128CmSha1_32 => ProtectionProfile::Aes128CmHmacSha1_32,
        Profile::Aes256CmSha1_80 => ProtectionProfile::Aes256CmHmacSha1_80,
        Profile::Aes256CmSha1_32 => ProtectionProfile::Aes256CmHmacSha1_32,
        Profile::AeadAes128Gcm => ProtectionProfile::AeadAes128Gcm,
        Profile::AeadAes256Gcm => ProtectionProfile::AeadAes256Gcm,
    };
    let master = master(profile, 1);
    let provider = default_provider().unwrap();
    Context::new(
        master.key(),
        master.salt(),
        theirs,
        None,
        None,
        provider.crypto(),
    )
    .unwrap()
}

fn rtp(ssrc: u32, sequence: u16, payload: usize) -> Vec<u8> {
    let mut packet = Vec::with_capacity(12 + payload + 16);
    packet.extend([0x80, 0]);
    packet.extend(sequence.to_be_bytes());
    packet.extend((u32::from(sequence) * 160).to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    packet.extend((0..payload).map(|at| (at as u8) ^ (sequence as u8)));
    packet
}

/// A sender report with a description.
fn rtcp(ssrc: u32) -> Vec<u8> {
    let mut packet = Vec::with_capacity(80);
    packet.extend([0x80, 200, 0, 6]);
    packet.extend(ssrc.to_be_bytes());
    packet.extend([9; 20]);
    packet.extend([0x81, 202, 0, 3]);
    packet.extend(ssrc.to_be_bytes());
    packet.extend([1, 4, b'a', b'b', b'c', b'd', 0, 0]);
    packet
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }
}

#[test]
fn another_implementation_reads_what_we_send_and_we_read_what_it_sends() {
    for profile in Profile::ALL {
        let (mut sender, mut receiver) = pair(profile);
        let (mut theirs_out, mut theirs_in) = (witness(profile), witness(profile));
        // Over a wrap of the sequence number, with headers of every form.
        for count in 0..200u16 {
            let mut packet = rtp(7, 65_450u16.wrapping_add(count), usize::from(count));
            if count % 3 == 1 {
                packet[0] |= 0x10;
                packet.splice(12..12, [0xbe, 0xde, 0, 1, 0x10, count as u8, 0, 0]);
            }
            if count % 5 == 2 {
                packet[0] |= 2;
                packet.splice(12..12, [1, 2, 3, 4, 5, 6, 7, 8]);
            }
            let mut protected = packet.clone();
            sender.protect_rtp(&mut protected).unwrap();
            assert_eq!(protected.len(), packet.len() + profile.rtp_overhead());
            let theirs = theirs_out.encrypt_rtp(&packet).unwrap();
            assert_eq!(
                theirs[..],
                protected[..],
                "{profile}: packet {count} differs"
            );
            assert_eq!(
                theirs_in.decrypt_rtp(&protected).unwrap()[..],
                packet[..],
                "{profile}"
            );
            let mut theirs = theirs.to_vec();
            let length = receiver.unprotect_rtp(&mut theirs).unwrap();
            assert_eq!(theirs[..length], packet[..], "{profile}");
        }
        for _ in 0..20 {
            let packet = rtcp(7);
            let mut protected = packet.clone();
            sender.protect_rtcp(&mut protected).unwrap();
            assert_eq!(protected.len(), packet.len() + profile.rtcp_overhead());
            assert_eq!(
                theirs_in.decrypt_rtcp(&protected).unwrap()[..],
                packet[..],
                "{profile}"
            );
            let mut theirs = theirs_out.encrypt_rtcp(&packet).unwrap().to_vec();
            let length = receiver.unprotect_rtcp(&mut theirs).unwrap();
            assert_eq!(theirs[..length], packet[..], "{profile}");
        }
    }
}

#[test]
fn loss_reordering_and_several_wraps_are_followed() {
    for profile in [Profile::Aes128CmSha1_80, Profile::AeadAes128Gcm] {
        let (mut sender, mut receiver) = pair(profile);
        let mut random = Random(5);
        let mut waiting: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut received = 0;
        // Over three wraps, losing a tenth, with packets up to thirty places late.
        for count in 0..200_000u32 {
            let plain = rtp(9, 60_000u16.wrapping_add(count as u16), 20);
            let mut packet = plain.clone();
            sender.protect_rtp(&mut packet).unwrap();
            if random.below(10) != 0 {
                waiting.push((plain, packet));
            }
            if waiting.len() > 30 {
                let (plain, mut packet) = waiting.swap_remove(random.below(30));
                // The rare packet that waited for too long falls out of the window, and nothing else does.
                match receiver.unprotect_rtp(&mut packet) {
                    Ok(length) => {
                        received += 1;
                        assert_eq!(packet[..length], plain[..]);
                    }
                    Err(error) => assert_eq!(error, SrtpError::Replayed),
                }
            }
        }
        assert!(received > 175_000, "{profile}: {received}");
    }
}

#[test]
fn a_long_silence_within_half_a_cycle_is_bridged() {
    let (mut sender, mut receiver) = pair(Profile::Aes128CmSha1_80);
    for sequence in [100, 32_000, 64_000, 20_000, 50_000, 10_000] {
        let mut packet = rtp(9, sequence, 20);
        sender.protect_rtp(&mut packet).unwrap();
        assert!(receiver.unprotect_rtp(&mut packet).is_ok(), "{sequence}");
    }
}

#[test]
fn a_stream_is_found_if_its_number_wrapped_before_the_first_packet_that_came() {
    for profile in Profile::ALL {
        let (mut sender, mut receiver) = pair(profile);
        let mut packets: Vec<Vec<u8>> = Vec::new();
        for count in 0..20 {
            let mut packet = rtp(9, 65_530u16.wrapping_add(count), 20);
            sender.protect_rtp(&mut packet).unwrap();
            packets.push(packet);
        }
        for packet in &mut packets[10..] {
            assert!(receiver.unprotect_rtp(packet).is_ok(), "{profile}");
        }
        // And those from before the wrap, late as they are.
        assert!(receiver.unprotect_rtp(&mut packets[3]).is_ok(), "{profile}");
    }
}

#[test]
fn replays_are_refused() {
    for profile in Profile::ALL {
        let (mut sender, mut receiver) = pair(profile);
        let mut kept = Vec::new();
        for sequence in 0..300 {
            let mut packet = rtp(9, sequence, 20);
            sender.protect_rtp(&mut packet).unwrap();
            kept.push(packet.clone());
            assert!(receiver.unprotect_rtp(&mut packet).is_ok());
        }
        for mut packet in kept {
            assert_eq!(
                receiver.unprotect_rtp(&mut packet),
                Err(SrtpError::Replayed),
                "{profile}"
            );
        }
        let mut report = rtcp(9);
        sender.protect_rtcp(&mut report).unwrap();
        assert!(receiver.unprotect_rtcp(&mut report.clone()).is_ok());
        assert_eq!(
            receiver.unprotect_rtcp(&mut report),
            Err(SrtpError::Replayed),
            "{profile}"
        );
    }
}

#[test]
fn damaged_packets_never_pass_and_never_panic() {
    for profile in Profile::ALL {
        let (mut sender, mut receiver) = pair(profile);
        let mut random = Random(11);
        let mut good = rtp(9, 1, 40);
        sender.protect_rtp(&mut good).unwrap();
        let mut good_report = rtcp(9);
        sender.protect_rtcp(&mut good_report).unwrap();
        let good_packets: HashSet<Vec<u8>> = [good.clone(), good_report.clone()].into();
        for round in 0..20_000 {
            let mut packet = if round % 2 == 0 {
                good.clone()
            } else {
                good_report.clone()
            };
            for _ in 0..=random.below(4) {
                let at = random.below(packet.len());
                match random.below(4) {
                    0 => packet[at] ^= 1 << random.below(8),
                    1 => packet[at] = random.next() as u8,
                    2 => packet.truncate(at.max(1)),
                    _ => packet.insert(at, random.next() as u8),
                }
            }
            if good_packets.contains(&packet) {
                continue;
            }
            assert!(
                receiver.unprotect_rtp(&mut packet.clone()).is_err(),
                "{profile}: {packet:?}"
            );
            assert!(
                receiver.unprotect_rtcp(&mut packet).is_err(),
                "{profile}: {packet:?}"
            );
        }
        for length in 0..60 {
            assert!(receiver.unprotect_rtp(&mut vec![0x80; length]).is_err());
            assert!(receiver.unprotect_rtcp(&mut vec![0x80; length]).is_err());
        }
        // The stream goes on as if nothing had been.
        assert!(receiver.unprotect_rtp(&mut good).is_ok(), "{profile}");
        assert!(
            receiver.unprotect_rtcp(&mut good_report).is_ok(),
            "{profile}"
        );
    }
}

#[test]
fn another_key_another_direction_and_another_profile_are_refused() {
    for profile in Profile::ALL {
        let mut sender = SrtpSender::new(profile, &master(profile, 1)).unwrap();
        let mut receiver = SrtpReceiver::new(profile, &master(profile, 2)).unwrap();
        let mut packet = rtp(9, 1, 40);
        sender.protect_rtp(&mut packet).unwrap();
        assert_eq!(
            receiver.unprotect_rtp(&mut packet),
            Err(SrtpError::Unauthentic),
            "{profile}"
        );
        let other = if profile == Profile::AeadAes128Gcm {
            Profile::AeadAes256Gcm
        } else {
            Profile::AeadAes128Gcm
        };
        assert!(matches!(
            SrtpSender::new(other, &master(profile, 1)),
            Err(SrtpError::KeyLength { .. })
        ));
    }
}

#[test]
fn a_few_sources_are_known_and_strangers_push_none_out() {
    let (mut sender, mut receiver) = pair(Profile::Aes128CmSha1_80);
    let mut first = rtp(0, 5, 20);
    sender.protect_rtp(&mut first).unwrap();
    assert!(receiver.unprotect_rtp(&mut first.clone()).is_ok());
    // Packets of other sources that are not authentic leave nothing behind.
    for ssrc in 1..1000 {
        let mut stranger = rtp(ssrc, 5, 40);
        assert_eq!(
            receiver.unprotect_rtp(&mut stranger),
            Err(SrtpError::Unauthentic)
        );
    }
    assert_eq!(
        receiver.unprotect_rtp(&mut first.clone()),
        Err(SrtpError::Replayed)
    );
    // Authentic ones push out the one that was silent for longest.
    for ssrc in 1..=7 {
        let mut packet = rtp(ssrc, 5, 20);
        sender.protect_rtp(&mut packet).unwrap();
        assert!(receiver.unprotect_rtp(&mut packet).is_ok());
    }
    assert_eq!(
        receiver.unprotect_rtp(&mut first.clone()),
        Err(SrtpError::Replayed),
        "eight fit"
    );
    let mut ninth = rtp(8, 5, 20);
    sender.protect_rtp(&mut ninth).unwrap();
    assert!(receiver.unprotect_rtp(&mut ninth).is_ok());
    assert!(
        receiver.unprotect_rtp(&mut first).is_ok(),
        "forgotten, so it counts as new"
    );
}

#[test]
fn a_sender_refuses_to_start_over() {
    let (mut sender, _) = pair(Profile::Aes128CmSha1_80);
    for ssrc in 0..256 {
        assert!(sender.protect_rtp(&mut rtp(ssrc, 5, 20)).is_ok());
    }
    assert_eq!(
        sender.protect_rtp(&mut rtp(256, 5, 20)),
        Err(SrtpError::Exhausted)
    );
    assert!(
        sender.protect_rtp(&mut rtp(3, 6, 20)).is_ok(),
        "those that are known go on"
    );
}

#[test]
fn a_new_key_goes_on_in_the_cycle_of_sequence_numbers_where_the_old_one_was() {
    for profile in Profile::ALL {
        let (mut sender, mut receiver) = pair(profile);
        let pass = |sender: &mut SrtpSender, receiver: &mut SrtpReceiver, sequence: u16| {
            let plain = rtp(7, sequence, 160);
            let mut packet = plain.clone();
            sender.protect_rtp(&mut packet).unwrap();
            let length = receiver.unprotect_rtp(&mut packet)?;
            assert_eq!(packet[..length], plain[..]);
            Ok::<_, SrtpError>(())
        };
        // Two wraps: what is known of them is in no packet.
        for sequence in (0..3 * 65_536u32).step_by(8_192) {
            assert_eq!(pass(&mut sender, &mut receiver, sequence as u16), Ok(()));
        }
        let (before_out, before_in) = (sender, receiver);
        let other = master(profile, 99);
        let renewed = || {
            let mut sender = SrtpSender::new(profile, &other).unwrap();
            let mut receiver = SrtpReceiver::new(profile, &other).unwrap();
            sender.continue_after(&before_out).unwrap();
            receiver.continue_after(&before_in);
            (sender, receiver)
        };
        let (mut sender, mut receiver) = renewed();
        assert_eq!(
            pass(&mut sender, &mut receiver, 57_345),
            Ok(()),
            "{profile}"
        );
        assert_eq!(pass(&mut sender, &mut receiver, 3), Ok(()), "a wrap more");
        // Who forgot the wraps would not be understood, nor understand.
        let mut forgetful = SrtpReceiver::new(profile, &other).unwrap();
        let (mut sender, _) = renewed();
        assert_eq!(
            pass(&mut sender, &mut forgetful, 57_345),
            Err(SrtpError::Unauthentic)
        );
        // Peers that start over are understood, too.
        let (_, mut receiver) = renewed();
        let mut fresh = SrtpSender::new(profile, &other).unwrap();
        assert_eq!(pass(&mut fresh, &mut receiver, 57_345), Ok(()), "{profile}");
        assert_eq!(pass(&mut fresh, &mut receiver, 57_346), Ok(()), "{profile}");
        // A key that was in use before comes back, and the wraps meanwhile are not forgotten.
        let (mut first, _) = pair(profile);
        first.protect_rtp(&mut rtp(7, 1, 20)).unwrap();
        first.continue_after(&before_out).unwrap();
        let mut receiver = SrtpReceiver::new(profile, &master(profile, 1)).unwrap();
        receiver.continue_after(&before_in);
        assert_eq!(pass(&mut first, &mut receiver, 57_345), Ok(()), "{profile}");
    }
}

#[test]
fn nothing_allocates_per_packet() {
    for profile in Profile::ALL {
        let (mut sender, mut receiver) = pair(profile);
        let mut packets: Vec<Vec<u8>> = (0..100).map(|sequence| rtp(9, sequence, 160)).collect();
        let mut reports: Vec<Vec<u8>> = (0..100).map(|_| rtcp(9)).collect();
        sender.protect_rtp(&mut packets[0]).unwrap();
        let counted = allocation_counter::measure(|| {
            assert!(receiver.unprotect_rtp(&mut packets[0]).is_ok());
            for packet in &mut packets[1..] {
                assert!(sender.protect_rtp(packet).is_ok());
                assert!(receiver.unprotect_rtp(packet).is_ok());
            }
            for report in &mut reports {
                assert!(sender.protect_rtcp(report).is_ok());
                assert!(receiver.unprotect_rtcp(report).is_ok());
            }
        });
        assert_eq!(counted.count_total, 0, "{profile}");
    }
}

#[test]
fn keys_are_never_shown() {
    let master = master(Profile::Aes128CmSha1_80, 1);
    assert_eq!(format!("{master:?}"), "MasterKey(16 + 14 bytes)");
    let (sender, receiver) = pair(Profile::Aes128CmSha1_80);
    for byte in ["01", "37"] {
        assert!(
            !format!("{sender:?}").contains(&format!("[{byte}")),
            "{sender:?}"
        );
    }
    assert!(!format!("{receiver:?}").contains('['), "{receiver:?}");
}
