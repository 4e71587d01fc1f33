//! CSeq (RFC 3261 section 20.16).

use std::fmt;

use super::{HeaderError, HeaderName};
use crate::message::Method;
use crate::wire::{cut_before, is_lws, is_token, trim};

/// The number of a request within its Call-ID, and its method.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct CSeq {
    /// Grows by one with each request. RFC 3261 wants it below 2^31; anything that fits 32 bits is read.
    pub number: u32,
    /// The method of the request that this is, or answers.
    pub method: Method,
}

impl CSeq {
    /// Reads a CSeq value.
    ///
    /// # Errors
    /// A [`HeaderError`] when it is not a 32-bit number and a method.
    pub fn parse(value: &str) -> Result<Self, HeaderError> {
        Self::read(trim(value)).map_err(|why| HeaderError::malformed(HeaderName::CSeq, why))
    }

    fn read(value: &str) -> Result<Self, &'static str> {
        let (number, method) = cut_before(value, is_lws);
        let mut sum = 0u32;
        if number.is_empty() {
            return Err("no number");
        }
        for byte in number.bytes() {
            if !byte.is_ascii_digit() {
                return Err("the number is not one");
            }
            sum = sum
                .checked_mul(10)
                .and_then(|sum| sum.checked_add(u32::from(byte - b'0')))
                .ok_or("the number does not fit 32 bits")?;
        }
        let method = trim(method);
        if method.is_empty() {
            return Err("no method behind the number");
        }
        if !is_token(method.as_bytes()) {
            return Err("the method is not a token");
        }
        Ok(CSeq {
            number: sum,
            method: Method::from_token(method.as_bytes()),
        })
    }
}

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.method)
    }
}
