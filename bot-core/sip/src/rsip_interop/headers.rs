//! Headers. rsip's are text in an enum of names; their order is kept.

use bytes::Bytes;
use rsip::headers::UntypedHeader as _;

use super::RsipError;
use crate::headers::{Header, HeaderName, Headers};
use crate::wire::is_token;

impl Headers {
    /// The headers as those of rsip, in their order.
    ///
    /// # Errors
    /// [`RsipError::NotUtf8`] when a value is not text.
    pub fn to_rsip(&self) -> Result<rsip::Headers, RsipError> {
        let headers = self
            .iter()
            .map(Header::to_rsip)
            .collect::<Result<Vec<_>, _>>()?;
        Ok(rsip::Headers::from(headers))
    }

    /// The headers that those of rsip are, in their order.
    ///
    /// # Errors
    /// A [`RsipError`] when a name is not a token or a value holds a line end.
    pub fn from_rsip(headers: &rsip::Headers) -> Result<Self, RsipError> {
        headers.iter().map(Header::from_rsip).collect()
    }
}

/// Both directions from one list of the names that rsip and this crate share.
macro_rules! shared_names {
    ($($name:ident)*) => {
        fn to_rsip(name: &HeaderName, value: String) -> rsip::Header {
            match name {
                $(HeaderName::$name => rsip::Header::$name(rsip::headers::$name::new(value)),)*
                other => rsip::Header::Other(other.to_string(), value),
            }
        }

        fn from_rsip(header: &rsip::Header) -> Result<(HeaderName, &str), RsipError> {
            match header {
                $(rsip::Header::$name(header) => Ok((HeaderName::$name, header.value())),)*
                rsip::Header::Other(name, _) if !is_token(name.as_bytes()) => {
                    Err(RsipError::HeaderName(name.clone()))
                }
                rsip::Header::Other(name, value) => Ok((HeaderName::from(name.as_str()), value)),
            }
        }
    };
}

shared_names! {
    Accept AcceptEncoding AcceptLanguage AlertInfo Allow AuthenticationInfo Authorization
    CSeq CallId CallInfo Contact ContentDisposition ContentEncoding ContentLanguage
    ContentLength ContentType Date ErrorInfo Event Expires From InReplyTo MaxForwards
    MimeVersion MinExpires Organization Priority ProxyAuthenticate ProxyAuthorization
    ProxyRequire RecordRoute ReplyTo Require RetryAfter Route Server Subject
    SubscriptionState Supported Timestamp To Unsupported UserAgent Via Warning
    WwwAuthenticate
}

impl Header {
    /// The header as one of rsip.
    ///
    /// # Errors
    /// [`RsipError::NotUtf8`] when its value is not text.
    pub fn to_rsip(&self) -> Result<rsip::Header, RsipError> {
        let value = self
            .text()
            .ok_or_else(|| RsipError::NotUtf8(self.name.clone()))?;
        Ok(to_rsip(&self.name, value.to_owned()))
    }

    /// The header that one of rsip is.
    ///
    /// # Errors
    /// A [`RsipError`] when its name is not a token or its value holds a line end.
    pub fn from_rsip(header: &rsip::Header) -> Result<Self, RsipError> {
        let (name, value) = from_rsip(header)?;
        if value.contains(['\r', '\n']) {
            return Err(RsipError::HeaderValue(name));
        }
        Ok(Header {
            name,
            value: Bytes::copy_from_slice(value.trim().as_bytes()),
        })
    }
}
