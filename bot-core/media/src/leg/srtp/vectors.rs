//! The vectors of RFC 3711, RFC 6188 and RFC 7714, and the reference packets of libsrtp, which include key derivation.

use aws_lc_rs::cipher::EncryptionContext;

use super::key::{AUTHENTICATION_KEY, Label, counter_mode, derive};
use super::transform::{Stream, Transform};
use super::{MasterKey, Profile, SrtpReceiver, SrtpSender};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] << 4 | pair[1]) as u8)
        .collect()
}

fn derived(master: &MasterKey, label: Label, length: usize) -> Vec<u8> {
    let mut key = vec![0; length];
    derive(master, label, &mut key).unwrap();
    key
}

/// RFC 3711, appendix B.2.
#[test]
fn the_keystream_of_aes_counter_mode() {
    let mut stream = vec![0; 0xff02 * 16];
    let block: [u8; 16] = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD0000").try_into().unwrap();
    let cipher = counter_mode(&hex("2B7E151628AED2A6ABF7158809CF4F3C")).unwrap();
    cipher
        .less_safe_encrypt(&mut stream, EncryptionContext::Iv128((&block).into()))
        .unwrap();
    assert_eq!(stream[..16], hex("E03EAD0935C95E80E166B16DD92B4EB4"));
    assert_eq!(stream[16..32], hex("D23513162B02D0F72A43A2FE4A5F97AB"));
    assert_eq!(stream[32..48], hex("41E95B3BB0A2E8DD477901E4FCA894C0"));
    assert_eq!(
        stream[0xfeff * 16..0xff00 * 16],
        hex("EC8CDF7398607CB0F2D21675EA9EA1E4")
    );
    assert_eq!(
        stream[0xff00 * 16..0xff01 * 16],
        hex("362B7C3C6773516318A077D7FC5073AE")
    );
    assert_eq!(
        stream[0xff01 * 16..],
        hex("6A2CC3787889374FBEB4C81B17BA6C44")
    );
}

/// RFC 3711, appendix B.3.
#[test]
fn session_keys_of_128_bits() {
    let master = hex("E1F97A0D3E018BE0D64FA32C06DE4139 0EC675AD498AFEEBB6960B3AABE6");
    let master = MasterKey::from_bytes(Profile::Aes128CmSha1_80, &master).unwrap();
    assert_eq!(
        derived(&master, Label::RtpEncryption, 16),
        hex("C61E7A93744F39EE10734AFE3FF7A087")
    );
    assert_eq!(
        derived(&master, Label::RtpSalt, 14),
        hex("30CBBC08863D8C85D49DB34A9AE1")
    );
    let authentication = hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4");
    assert_eq!(
        derived(&master, Label::RtpAuthentication, AUTHENTICATION_KEY),
        authentication
    );
}

/// RFC 6188, section 7.2.
#[test]
fn session_keys_of_256_bits() {
    let master = hex(
        "f0f04914b513f2763a1b1fa130f10e29 98f6f6e43e4309d1e622a0e332b9f1b6 3b04803de51ee7c96423ab5b78d2",
    );
    let master = MasterKey::from_bytes(Profile::Aes256CmSha1_80, &master).unwrap();
    let key = hex("5ba1064e30ec51613cad926c5a28ef73 1ec7fb397f70a960653caf06554cd8c4");
    assert_eq!(derived(&master, Label::RtpEncryption, 32), key);
    assert_eq!(
        derived(&master, Label::RtpSalt, 14),
        hex("fa31791685ca444a9e07c6c64e93")
    );
    let authentication = hex("fd9c32d39ed5fbb5a9dc96b30818454d1313dc05");
    assert_eq!(
        derived(&master, Label::RtpAuthentication, AUTHENTICATION_KEY),
        authentication
    );
}

/// The packets with which libsrtp validates itself: from the master key to the bytes on the wire.
#[test]
fn reference_packets_with_counter_mode() {
    let plain = hex("800f1234 decafbad cafebabe abababababababababababababababab");
    for (profile, master, protected) in [
        (
            Profile::Aes128CmSha1_80,
            "e1f97a0d3e018be0d64fa32c06de4139 0ec675ad498afeebb6960b3aabe6",
            "800f1234 decafbad cafebabe 4e55dc4ce79978d88ca4d215949d2402 b78d6acc99ea179b8dbb",
        ),
        (
            Profile::Aes256CmSha1_80,
            "f0f04914b513f2763a1b1fa130f10e29 98f6f6e43e4309d1e622a0e332b9f1b6 3b04803de51ee7c96423ab5b78d2",
            "800f1234 decafbad cafebabe f1d9de17ff251ff1aa007774b0b4b40d a08d9d9a5b3a55d8873b",
        ),
    ] {
        let master = MasterKey::from_bytes(profile, &hex(master)).unwrap();
        let mut packet = plain.clone();
        SrtpSender::new(profile, &master)
            .unwrap()
            .protect_rtp(&mut packet)
            .unwrap();
        assert_eq!(packet, hex(protected), "{profile}");
        let length = SrtpReceiver::new(profile, &master)
            .unwrap()
            .unprotect_rtp(&mut packet)
            .unwrap();
        assert_eq!(packet[..length], plain, "{profile}");
    }
}

fn gcm(profile: Profile, stream: Stream) -> Transform {
    let key: Vec<u8> = (0..profile.key_length() as u8).collect();
    Transform::from_session_keys(profile, stream, &key, b"Quid pro quo", &[]).unwrap()
}

/// RFC 7714, section 16.
#[test]
fn rtp_packets_with_gcm() {
    let plain = hex(
        "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 69736120 696e2070 61727465 73207472 6573",
    );
    for (profile, protected) in [
        (
            Profile::AeadAes128Gcm,
            "8040f17b 8041f8d3 5501a0b2 f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b 36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce",
        ),
        (
            Profile::AeadAes256Gcm,
            "8040f17b 8041f8d3 5501a0b2 32b1de78 a822fe12 ef9f78fa 332e33aa b1801238 9a58e2f3 b50b2a02 76ffae0f 1ba63799 b87b7aa3 db36dfff d6b0f9bb 7878d7a7 6c13",
        ),
    ] {
        let transform = gcm(profile, Stream::Rtp);
        let mut packet = plain.clone();
        transform
            .protect_rtp(&mut packet, 12, 0x5501_a0b2, 0xf17b)
            .unwrap();
        assert_eq!(packet, hex(protected), "{profile}");
        let length = transform
            .unprotect_rtp(&mut packet, 12, 0x5501_a0b2, 0xf17b)
            .unwrap();
        assert_eq!(packet[..length], plain, "{profile}");
    }
}

/// RFC 7714, section 17.
#[test]
fn rtcp_packets_with_gcm() {
    let plain = hex(
        "81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61 deadbeef deadbeef deadbeef deadbeef deadbeef",
    );
    let ssrc = 0x4d61_7273;
    for (profile, protected) in [
        (
            Profile::AeadAes128Gcm,
            "81c8000d 4d617273 63e94885 dcdab67c a727d766 2f6b7e99 7ff5c0f7 6c06f32d c676a5f1 730d6fda 4ce09b46 86303ded 0bb9275b c84aa458 96cf4d2f c5abf872 45d9eade 800005d4",
        ),
        (
            Profile::AeadAes256Gcm,
            "81c8000d 4d617273 d50ae4d1 f5ce5d30 4ba297e4 7d470c28 2c3ece5d bffe0a50 a2eaa5c1 110555be 8415f658 c61de047 6f1b6fad 1d1eb30c 4446839f 57ff6f6c b26ac3be 800005d4",
        ),
    ] {
        let transform = gcm(profile, Stream::Rtcp);
        let mut packet = plain.clone();
        transform.protect_rtcp(&mut packet, ssrc, 0x5d4).unwrap();
        assert_eq!(packet, hex(protected), "{profile}");
        let length = transform
            .unprotect_rtcp(&mut packet, ssrc, 0x8000_05d4)
            .unwrap();
        assert_eq!(packet[..length], plain, "{profile}");
    }
}

/// What RFC 7714, section 9.3, and RFC 3711, section 3.4, call for: signed but not encrypted packets are taken too.
#[test]
fn rtcp_packets_that_are_only_signed() {
    let plain = hex("81c8000d 4d617273 4e545031 4e545032 52545020 0000042a 0000e930 4c756e61");
    for profile in Profile::ALL {
        let master = MasterKey::from_bytes(
            profile,
            &vec![7; profile.key_length() + profile.salt_length()],
        )
        .unwrap();
        let transform = Transform::derive(profile, &master, Stream::Rtcp).unwrap();
        let mut packet = plain.clone();
        transform.sign_rtcp(&mut packet, 0x4d61_7273, 3);
        assert_eq!(packet.len(), plain.len() + profile.rtcp_overhead());
        let mut receiver = SrtpReceiver::new(profile, &master).unwrap();
        let mut damaged = packet.clone();
        damaged[20] ^= 1;
        assert!(receiver.unprotect_rtcp(&mut damaged).is_err(), "{profile}");
        let length = receiver.unprotect_rtcp(&mut packet).unwrap();
        assert_eq!(packet[..length], plain, "{profile}");
    }
}
