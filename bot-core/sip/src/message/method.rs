//! Request methods (RFC 3261 section 7.1). An unknown method is kept, never an error.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::wire::is_token;

/// A request method. Methods are case-sensitive: `invite` is not INVITE.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[allow(missing_docs)] // each variant is the method that it is named after
pub enum Method {
    Invite,
    Ack,
    Bye,
    Cancel,
    Options,
    Info,
    Register,
    Prack,
    Update,
    Message,
    Refer,
    Notify,
    Subscribe,
    Publish,
    /// Any other token. Made by [`FromStr`], which maps the known methods to their own variants.
    Other(Arc<str>),
}

impl Method {
    /// The method as it is written in a message.
    pub fn as_str(&self) -> &str {
        match self {
            Method::Invite => "INVITE",
            Method::Ack => "ACK",
            Method::Bye => "BYE",
            Method::Cancel => "CANCEL",
            Method::Options => "OPTIONS",
            Method::Info => "INFO",
            Method::Register => "REGISTER",
            Method::Prack => "PRACK",
            Method::Update => "UPDATE",
            Method::Message => "MESSAGE",
            Method::Refer => "REFER",
            Method::Notify => "NOTIFY",
            Method::Subscribe => "SUBSCRIBE",
            Method::Publish => "PUBLISH",
            Method::Other(name) => name,
        }
    }

    /// The method that `token` names. `token` must be token bytes, which are ASCII.
    pub(crate) fn from_token(token: &[u8]) -> Method {
        match token {
            b"INVITE" => Method::Invite,
            b"ACK" => Method::Ack,
            b"BYE" => Method::Bye,
            b"CANCEL" => Method::Cancel,
            b"OPTIONS" => Method::Options,
            b"INFO" => Method::Info,
            b"REGISTER" => Method::Register,
            b"PRACK" => Method::Prack,
            b"UPDATE" => Method::Update,
            b"MESSAGE" => Method::Message,
            b"REFER" => Method::Refer,
            b"NOTIFY" => Method::Notify,
            b"SUBSCRIBE" => Method::Subscribe,
            b"PUBLISH" => Method::Publish,
            other => Method::Other(String::from_utf8_lossy(other).into()),
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A method name with a character that no method can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a method: use letters, digits and -.!%*_+`'~ only")]
pub struct MethodError;

impl FromStr for Method {
    type Err = MethodError;

    fn from_str(text: &str) -> Result<Self, MethodError> {
        if is_token(text.as_bytes()) {
            Ok(Method::from_token(text.as_bytes()))
        } else {
            Err(MethodError)
        }
    }
}
