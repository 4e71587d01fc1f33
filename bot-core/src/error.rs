//! What a bot's operations fail with.

use crate::call::HangupCause;

/// The result of a bot's operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation on a call failed. With `?` any of them ends the bot.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The call ended, or was refused, while the operation waited.
    #[error("the call has ended: {0}")]
    HungUp(HangupCause),
    /// A sound could not be opened or decoded.
    #[error("cannot play {name}: {why}")]
    Sound {
        /// The file or prompt that was asked for.
        name: String,
        /// What is wrong with it.
        why: String,
    },
    /// A recording could not be written.
    #[error("cannot record to {path}: {why}")]
    Recording {
        /// The file that was asked for.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The two sides have no media in common, or the description was broken.
    #[error("no media: {0}")]
    Media(String),
    /// No RTP port is free, or the media threads take no more work.
    #[error("no room for media: {0}")]
    Exhausted(String),
    /// A transfer came to nothing; the call stands, unless its far end has hung up.
    #[error("the transfer failed: {}{why}", .status.map_or(String::new(), |status| format!("{status} ")))]
    Transfer {
        /// The status of whom the far end called, or with which it refused to.
        status: Option<u16>,
        /// What is known of it.
        why: String,
    },
    /// A string of digits has a character that is no digit and no pause.
    #[error("bad digits {digits:?}: use 0-9 * # A-D, w for 0.5 s and W for 1 s")]
    Digits {
        /// What was given.
        digits: String,
    },
    /// A URI that is none, or that cannot be called.
    #[error("cannot call {uri}: {why}")]
    Uri {
        /// What was given.
        uri: String,
        /// What is wrong.
        why: String,
    },
    /// The endpoint is shutting down or gone.
    #[error("the endpoint is shutting down")]
    Closed,
    /// The operation does not fit the state of the call.
    #[error("not now: {0}")]
    State(&'static str),
    /// An error of the bot's own.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

impl Error {
    /// Wraps an error of the bot's own, so that `?` can end the bot with it.
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Other(error.into())
    }

    /// The cause, when the call's end is what ended the operation.
    pub fn hangup_cause(&self) -> Option<&HangupCause> {
        match self {
            Self::HungUp(cause) => Some(cause),
            _ => None,
        }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::other(error)
    }
}

impl From<StartError> for Error {
    fn from(error: StartError) -> Self {
        Self::other(error)
    }
}

/// Why an endpoint did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A listener's URL is not one that callbot knows.
    #[error("cannot listen on {listen}: {why}")]
    Listen {
        /// What was given.
        listen: String,
        /// What is wrong, and the cure.
        why: String,
    },
    /// A certificate, its key or an authority cannot be used.
    #[error("cannot use {}: {why}", file.display())]
    Certificate {
        /// The file that was given.
        file: std::path::PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// An account's URI or registrar is wrong.
    #[error("cannot register {account}: {why}")]
    Account {
        /// What was given.
        account: String,
        /// What is wrong.
        why: String,
    },
    /// The range of RTP ports holds no even port.
    #[error("no RTP port in {first}-{last}: give a range such as 10000-20000")]
    RtpPorts {
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
    },
    /// The DNS server that was named cannot be asked.
    #[error("cannot ask this DNS server: {0}")]
    Dns(String),
    /// No certificate could be made for DTLS.
    #[error("cannot make a certificate for DTLS-SRTP: {0}")]
    MediaCertificate(String),
    /// The STUN and TURN servers that were named will not do; says why.
    #[error("{0}")]
    IceServer(String),
    /// The machine refused a thread or a descriptor.
    #[error("the machine refuses: {0}")]
    Io(#[from] std::io::Error),
}
