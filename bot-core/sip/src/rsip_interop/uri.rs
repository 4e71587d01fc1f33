//! Addresses.

use std::fmt::Write as _;
use std::net::IpAddr;

use rsip::common::uri::{Auth, Host, HostWithPort, Param, Scheme};

use super::RsipError;
use crate::uri::{self, Uri};

impl Uri {
    /// The address as one of rsip. An IPv6 host becomes a `Domain` with its brackets, because rsip writes an `IpAddr`
    /// without them.
    ///
    /// # Errors
    /// [`RsipError::Scheme`] for anything but sip and sips, [`RsipError::UriHeaders`] when there are headers.
    pub fn to_rsip(&self) -> Result<rsip::Uri, RsipError> {
        let scheme = match self.kind() {
            uri::Scheme::Sip => Scheme::Sip,
            uri::Scheme::Sips => Scheme::Sips,
            _ => return Err(RsipError::Scheme(self.scheme().to_owned())),
        };
        if self.headers().next().is_some() {
            return Err(RsipError::UriHeaders);
        }
        let host = match self.host_ip() {
            Some(ip @ IpAddr::V4(_)) => Host::IpAddr(ip),
            _ if self.host().contains(':') => Host::Domain(format!("[{}]", self.host()).into()),
            _ => Host::Domain(self.host().to_owned().into()),
        };
        let auth = self.user().map(|user| Auth {
            user: user.to_owned(),
            password: self.password().map(str::to_owned),
        });
        let params = self.params().map(|(name, value)| {
            // Where rsip knows the name but not the value, the parameter is kept as one that it does not know.
            Param::try_from((name, value)).unwrap_or_else(|_| {
                Param::Other(
                    name.to_owned().into(),
                    value.map(|value| value.to_owned().into()),
                )
            })
        });
        Ok(rsip::Uri {
            scheme: Some(scheme),
            auth,
            host_with_port: HostWithPort {
                host,
                port: self.port().map(Into::into),
            },
            params: params.collect(),
            headers: Vec::new(),
        })
    }

    /// The address that one of rsip is.
    ///
    /// # Errors
    /// [`RsipError::Scheme`] for anything but sip and sips, [`RsipError::Uri`] when it is no address.
    pub fn from_rsip(uri: &rsip::Uri) -> Result<Self, RsipError> {
        let mut text = match &uri.scheme {
            Some(Scheme::Sip) => "sip:".to_owned(),
            Some(Scheme::Sips) => "sips:".to_owned(),
            Some(Scheme::Other(name)) => return Err(RsipError::Scheme(name.clone())),
            None => return Err(RsipError::Uri(uri::UriError::Scheme)),
        };
        if let Some(auth) = &uri.auth {
            let _ = write!(text, "{auth}@");
        }
        match &uri.host_with_port.host {
            Host::IpAddr(IpAddr::V6(ip)) => {
                let _ = write!(text, "[{ip}]");
            }
            other => {
                let _ = write!(text, "{other}");
            }
        }
        if let Some(port) = &uri.host_with_port.port {
            let _ = write!(text, ":{}", port.value());
        }
        for param in &uri.params {
            let _ = write!(text, "{param}");
        }
        let made: Uri = text.parse()?;
        // rsip checks nothing that a program puts into an address: a part with a separator in it would become two.
        let same = made.user() == uri.auth.as_ref().map(|auth| auth.user.as_str())
            && made.port() == uri.host_with_port.port.as_ref().map(|port| *port.value())
            && made.params().count() == uri.params.len()
            && made.headers().next().is_none();
        if same {
            Ok(made)
        } else {
            Err(RsipError::Uri(uri::UriError::Character))
        }
    }
}
