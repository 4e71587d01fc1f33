//! Digest authentication between the words of bots and those of SIP.

use callbot_sip::auth::Algorithm;

use crate::auth::DigestAlgorithm;

impl From<DigestAlgorithm> for Algorithm {
    fn from(algorithm: DigestAlgorithm) -> Self {
        match algorithm {
            DigestAlgorithm::Md5 => Algorithm::Md5,
            DigestAlgorithm::Sha256 => Algorithm::Sha256,
            DigestAlgorithm::Sha512_256 => Algorithm::Sha512_256,
        }
    }
}
