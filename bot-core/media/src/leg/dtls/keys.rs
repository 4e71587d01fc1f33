//! The SRTP keys out of a handshake (RFC 5764, section 4.2).

use super::{DtlsError, DtlsRole};
use crate::leg::srtp::{MasterKey, Profile};

/// The label under which keys are exported.
pub(super) const EXPORTER_LABEL: &str = "EXTRACTOR-dtls_srtp";

/// What a handshake is for: the profile and a master key for each direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SrtpKeys {
    /// The profile that was agreed on.
    pub profile: Profile,
    /// The key under which we send.
    pub local: MasterKey,
    /// The key under which the peer sends.
    pub remote: MasterKey,
}

impl SrtpKeys {
    /// Bytes to be exported for a profile: two keys, two salts.
    pub(super) const fn length(profile: Profile) -> usize {
        2 * (profile.key_length() + profile.salt_length())
    }

    /// Takes exported bytes apart: the client's key, the server's key, the client's salt, the server's salt.
    pub(super) fn from_exported(
        profile: Profile,
        role: DtlsRole,
        exported: &[u8],
    ) -> Result<Self, DtlsError> {
        let parts = || {
            let (client_key, rest) = exported.split_at_checked(profile.key_length())?;
            let (server_key, rest) = rest.split_at_checked(profile.key_length())?;
            let (client_salt, rest) = rest.split_at_checked(profile.salt_length())?;
            let (server_salt, _) = rest.split_at_checked(profile.salt_length())?;
            let client = MasterKey::new(profile, client_key, client_salt).ok()?;
            let server = MasterKey::new(profile, server_key, server_salt).ok()?;
            Some((client, server))
        };
        let (client, server) = parts().ok_or_else(|| DtlsError::Handshake {
            reason: "the exported keys are too short".to_owned(),
        })?;
        Ok(match role {
            DtlsRole::Client => Self {
                profile,
                local: client,
                remote: server,
            },
            DtlsRole::Server => Self {
                profile,
                local: server,
                remote: client,
            },
        })
    }
}
