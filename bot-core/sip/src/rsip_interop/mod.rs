//! Conversions from and to the messages of the crate rsip 0.4, for programs whose code speaks rsip (feature `rsip`).
//!
//! Responsibility: `to_rsip` and `from_rsip` on [`Message`], [`Request`], [`Response`], [`Headers`], [`Header`](crate::headers::Header), [`Uri`],
//! [`Method`] and [`StatusCode`]. Nothing else in this crate uses rsip: it is neither our parser nor our model.
//!
//! Invariants: a conversion either says the same or is a [`RsipError`] that names what rsip cannot hold. Two things are
//! let pass because rsip has no place for them and nothing depends on them: the reason phrase of a status that rsip knows,
//! and the spelling of parameters whose name and value rsip normalises (`transport=TCP`).

mod error;
mod headers;
mod uri;

use bytes::Bytes;

pub use error::RsipError;

use crate::headers::Headers;
use crate::message::{Message, Method, Request, Response, StatusCode};
use crate::uri::Uri;

impl Message {
    /// The message as one of rsip.
    ///
    /// # Errors
    /// A [`RsipError`] when rsip cannot hold it.
    pub fn to_rsip(&self) -> Result<rsip::SipMessage, RsipError> {
        match self {
            Message::Request(request) => request.to_rsip().map(rsip::SipMessage::Request),
            Message::Response(response) => response.to_rsip().map(rsip::SipMessage::Response),
        }
    }

    /// The message that one of rsip is.
    ///
    /// # Errors
    /// A [`RsipError`] when it is none that could be sent.
    pub fn from_rsip(message: &rsip::SipMessage) -> Result<Self, RsipError> {
        match message {
            rsip::SipMessage::Request(request) => Request::from_rsip(request).map(Message::Request),
            rsip::SipMessage::Response(response) => {
                Response::from_rsip(response).map(Message::Response)
            }
        }
    }
}

impl Request {
    /// The request as one of rsip.
    ///
    /// # Errors
    /// A [`RsipError`] when rsip cannot hold it.
    pub fn to_rsip(&self) -> Result<rsip::Request, RsipError> {
        Ok(rsip::Request {
            method: self.method.to_rsip()?,
            uri: self.uri.to_rsip()?,
            version: rsip::Version::V2,
            headers: self.headers.to_rsip()?,
            body: self.body.to_vec(),
        })
    }

    /// The request that one of rsip is.
    ///
    /// # Errors
    /// A [`RsipError`] when it is none that could be sent.
    pub fn from_rsip(request: &rsip::Request) -> Result<Self, RsipError> {
        check_version(&request.version)?;
        Ok(Request {
            method: Method::from_rsip(&request.method),
            uri: Uri::from_rsip(&request.uri)?,
            headers: Headers::from_rsip(&request.headers)?,
            body: Bytes::copy_from_slice(&request.body),
        })
    }
}

impl Response {
    /// The response as one of rsip. The reason phrase is kept for codes that rsip does not know.
    ///
    /// # Errors
    /// A [`RsipError`] when rsip cannot hold it.
    pub fn to_rsip(&self) -> Result<rsip::Response, RsipError> {
        let status_code = match self.status.to_rsip() {
            rsip::StatusCode::Other(code, _) => {
                rsip::StatusCode::Other(code, self.reason_phrase().into_owned())
            }
            known => known,
        };
        Ok(rsip::Response {
            status_code,
            version: rsip::Version::V2,
            headers: self.headers.to_rsip()?,
            body: self.body.to_vec(),
        })
    }

    /// The response that one of rsip is.
    ///
    /// # Errors
    /// A [`RsipError`] when it is none that could be sent.
    pub fn from_rsip(response: &rsip::Response) -> Result<Self, RsipError> {
        check_version(&response.version)?;
        let status = StatusCode::from_rsip(&response.status_code)?;
        let reason = match &response.status_code {
            rsip::StatusCode::Other(_, reason) => Bytes::copy_from_slice(reason.as_bytes()),
            _ => Bytes::from_static(status.reason().as_bytes()),
        };
        Ok(Response {
            status,
            reason,
            headers: Headers::from_rsip(&response.headers)?,
            body: Bytes::copy_from_slice(&response.body),
        })
    }
}

impl Method {
    /// The method as one of rsip.
    ///
    /// # Errors
    /// [`RsipError::Method`] for any method that has no variant of its own here: rsip's list is closed.
    pub fn to_rsip(&self) -> Result<rsip::Method, RsipError> {
        Ok(match self {
            Method::Invite => rsip::Method::Invite,
            Method::Ack => rsip::Method::Ack,
            Method::Bye => rsip::Method::Bye,
            Method::Cancel => rsip::Method::Cancel,
            Method::Options => rsip::Method::Options,
            Method::Info => rsip::Method::Info,
            Method::Register => rsip::Method::Register,
            Method::Prack => rsip::Method::PRack,
            Method::Update => rsip::Method::Update,
            Method::Message => rsip::Method::Message,
            Method::Refer => rsip::Method::Refer,
            Method::Notify => rsip::Method::Notify,
            Method::Subscribe => rsip::Method::Subscribe,
            Method::Publish => rsip::Method::Publish,
            Method::Other(name) => return Err(RsipError::Method(name.to_string())),
        })
    }

    /// The method that one of rsip is.
    pub fn from_rsip(method: &rsip::Method) -> Self {
        match method {
            rsip::Method::Invite => Method::Invite,
            rsip::Method::Ack => Method::Ack,
            rsip::Method::Bye => Method::Bye,
            rsip::Method::Cancel => Method::Cancel,
            rsip::Method::Options => Method::Options,
            rsip::Method::Info => Method::Info,
            rsip::Method::Register => Method::Register,
            rsip::Method::PRack => Method::Prack,
            rsip::Method::Update => Method::Update,
            rsip::Method::Message => Method::Message,
            rsip::Method::Refer => Method::Refer,
            rsip::Method::Notify => Method::Notify,
            rsip::Method::Subscribe => Method::Subscribe,
            rsip::Method::Publish => Method::Publish,
        }
    }
}

impl StatusCode {
    /// The status as one of rsip, with the usual phrase when rsip does not know the code.
    pub fn to_rsip(self) -> rsip::StatusCode {
        match rsip::StatusCode::from(self.0) {
            rsip::StatusCode::Other(code, _) => {
                rsip::StatusCode::Other(code, self.reason().to_owned())
            }
            known => known,
        }
    }

    /// The status that one of rsip is.
    ///
    /// # Errors
    /// [`RsipError::Status`] when the code is not between 100 and 699.
    pub fn from_rsip(status: &rsip::StatusCode) -> Result<Self, RsipError> {
        match status.code() {
            code @ 100..700 => Ok(StatusCode(code)),
            code => Err(RsipError::Status(code)),
        }
    }
}

fn check_version(version: &rsip::Version) -> Result<(), RsipError> {
    if *version == rsip::Version::V2 {
        Ok(())
    } else {
        Err(RsipError::Version)
    }
}
