//! Typed views of the headers that a user agent acts on, read on demand and borrowed.

use std::net::SocketAddr;

use bytes::Bytes;

use super::{CSeq, Header, HeaderError, HeaderName, Headers, NameAddr, Via};
use crate::wire::{cut_before, decimal_saturating, split_list, trim};

impl Headers {
    /// The topmost Via.
    ///
    /// # Errors
    /// A [`HeaderError`] when there is none or it is malformed.
    pub fn via(&self) -> Result<Via<'_>, HeaderError> {
        let line = self.required(&HeaderName::Via)?;
        let value = split_list(line)
            .next()
            .ok_or(HeaderError::malformed(HeaderName::Via, "it is empty"))?;
        Via::parse(value)
    }

    /// All Vias, from the topmost one on, whether they share lines or not.
    pub fn vias(&self) -> impl Iterator<Item = Result<Via<'_>, HeaderError>> {
        self.items(&HeaderName::Via).map(|value| Via::parse(value?))
    }

    /// From.
    ///
    /// # Errors
    /// A [`HeaderError`] when there is none or it is malformed.
    pub fn from(&self) -> Result<NameAddr<'_>, HeaderError> {
        NameAddr::parse(&HeaderName::From, self.required(&HeaderName::From)?)
    }

    /// To.
    ///
    /// # Errors
    /// A [`HeaderError`] when there is none or it is malformed.
    pub fn to(&self) -> Result<NameAddr<'_>, HeaderError> {
        NameAddr::parse(&HeaderName::To, self.required(&HeaderName::To)?)
    }

    /// Call-ID.
    ///
    /// # Errors
    /// A [`HeaderError`] when there is none or it is empty.
    pub fn call_id(&self) -> Result<&str, HeaderError> {
        match self.required(&HeaderName::CallId)? {
            "" => Err(HeaderError::malformed(HeaderName::CallId, "it is empty")),
            value => Ok(value),
        }
    }

    /// CSeq.
    ///
    /// # Errors
    /// A [`HeaderError`] when there is none or it is malformed.
    pub fn cseq(&self) -> Result<CSeq, HeaderError> {
        CSeq::parse(self.required(&HeaderName::CSeq)?)
    }

    /// The first Contact; `None` when there is none.
    pub fn contact(&self) -> Option<Result<NameAddr<'_>, HeaderError>> {
        self.contacts().next()
    }

    /// All Contacts.
    pub fn contacts(&self) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.name_addrs(HeaderName::Contact)
    }

    /// All Routes, the next hop first.
    pub fn routes(&self) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.name_addrs(HeaderName::Route)
    }

    /// All Record-Routes, the topmost first.
    pub fn record_routes(&self) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.name_addrs(HeaderName::RecordRoute)
    }

    /// All addresses of a header that is a list of them, such as Path or P-Asserted-Identity.
    pub fn name_addrs(
        &self,
        name: HeaderName,
    ) -> impl Iterator<Item = Result<NameAddr<'_>, HeaderError>> {
        self.items(&name)
            .map(move |value| NameAddr::parse(&name, value?))
    }

    /// Max-Forwards, in hops; `None` when there is none or it is not a number.
    pub fn max_forwards(&self) -> Option<u32> {
        decimal_saturating(self.get(&HeaderName::MaxForwards)?)
    }

    /// Content-Length as it was received, in bytes. What is written is the length of the body.
    pub fn content_length(&self) -> Option<Result<usize, HeaderError>> {
        let malformed = || HeaderError::malformed(HeaderName::ContentLength, "not a number");
        let line = self.first(&HeaderName::ContentLength)?;
        Some(
            line.text()
                .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
                .ok_or_else(malformed)
                .and_then(|text| text.parse().map_err(|_| malformed())),
        )
    }

    /// Expires, in seconds; `None` when there is none or it is not a number. A number too large for `u32` is `u32::MAX`.
    pub fn expires(&self) -> Option<u32> {
        decimal_saturating(self.get(&HeaderName::Expires)?)
    }

    /// Retry-After, in seconds, whatever comment or parameter follows; `None` when there is none or it does not begin
    /// with a number. A number too large for `u32` is `u32::MAX`.
    pub fn retry_after(&self) -> Option<u32> {
        let (number, _) = cut_before(self.get(&HeaderName::RetryAfter)?, |byte| {
            !byte.is_ascii_digit()
        });
        decimal_saturating(number)
    }

    /// Content-Type with its parameters.
    pub fn content_type(&self) -> Option<&str> {
        self.get(&HeaderName::ContentType)
    }

    /// Writes into the topmost Via where the request came from: see [`Via::with_source`]. Other Vias on the same line
    /// stay as they are.
    ///
    /// # Errors
    /// A [`HeaderError`] when there is no Via or it is malformed; nothing is changed then.
    pub fn stamp_source(&mut self, source: SocketAddr) -> Result<(), HeaderError> {
        let line = self.required(&HeaderName::Via)?;
        let mut items = split_list(line);
        let topmost = items
            .next()
            .ok_or(HeaderError::malformed(HeaderName::Via, "it is empty"))?;
        let mut value = Via::parse(topmost)?.with_source(source);
        for item in items {
            value.push_str(", ");
            value.push_str(item);
        }
        if let Some(header) = self
            .iter_mut()
            .find(|header| header.name == HeaderName::Via)
        {
            header.value = Bytes::from(value);
        }
        Ok(())
    }

    /// The first line of that name as text.
    fn required(&self, name: &HeaderName) -> Result<&str, HeaderError> {
        let header = self
            .first(name)
            .ok_or_else(|| HeaderError::Missing(name.clone()))?;
        text_of(header).map(trim)
    }

    /// The items of all lines of that name. A line that is not UTF-8 is one error, and spoils no other line.
    fn items<'a>(
        &'a self,
        name: &HeaderName,
    ) -> impl Iterator<Item = Result<&'a str, HeaderError>> + use<'a> {
        self.lines_of(name).flat_map(|header| {
            let (list, error) = match text_of(header) {
                Ok(text) => (text, None),
                Err(error) => ("", Some(Err(error))),
            };
            split_list(list).map(Ok).chain(error)
        })
    }
}

fn text_of(header: &Header) -> Result<&str, HeaderError> {
    header
        .text()
        .ok_or_else(|| HeaderError::NotUtf8(header.name.clone()))
}
