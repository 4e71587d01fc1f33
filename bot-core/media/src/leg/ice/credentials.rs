//! User name fragments and passwords (RFC 8445, section 5.3).

/// Bytes of randomness for a user name fragment: 48 bits as 8 letters.
pub const UFRAG_SEED: usize = 6;

/// Bytes of randomness for a password: 144 bits as 24 letters; the RFC asks for 128.
pub const PWD_SEED: usize = 18;

/// The letters that may stand in both ("ice-char").
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// The `a=ice-ufrag` and `a=ice-pwd` for these random bytes. They must be new for each agent and must not be guessable: who
/// knows them can move the call's media.
#[must_use]
pub fn credentials(random: &[u8; UFRAG_SEED + PWD_SEED]) -> (String, String) {
    let (ufrag, pwd) = random.split_at(UFRAG_SEED);
    (letters(ufrag), letters(pwd))
}

/// Four letters for each three bytes.
fn letters(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 4 / 3);
    for three in bytes.chunks(3) {
        let word = three
            .iter()
            .fold(0usize, |word, byte| word << 8 | usize::from(*byte));
        for shift in [18, 12, 6, 0] {
            text.push(char::from(LETTERS[word >> shift & 63]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::credentials;

    #[test]
    fn every_bit_counts_and_the_lengths_are_those_of_the_rfc() {
        let (ufrag, pwd) = credentials(&[0xff; 24]);
        assert_eq!(
            (ufrag.as_str(), pwd.as_str()),
            ("////////", "////////////////////////")
        );
        for bit in 0..24 * 8 {
            let mut random = [0; 24];
            random[bit / 8] |= 1 << (bit % 8);
            let (ufrag, pwd) = credentials(&random);
            assert!(ufrag.len() >= 4 && pwd.len() >= 22);
            let changed = format!("{ufrag}{pwd}")
                .bytes()
                .filter(|letter| *letter != b'A')
                .count();
            assert_eq!(changed, 1);
        }
    }
}
