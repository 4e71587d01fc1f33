//! RSeq and RAck: the numbers of reliable provisional responses (RFC 3262 section 7).

use std::fmt;

use super::{CSeq, HeaderError, HeaderName, Headers};
use crate::message::Method;
use crate::wire::{cut_before, decimal_saturating, is_lws, trim};

/// What a PRACK acknowledges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RAck {
    /// The RSeq of the provisional response.
    pub rseq: u32,
    /// The CSeq number of that response.
    pub number: u32,
    /// The method of that response.
    pub method: Method,
}

impl RAck {
    /// Reads a RAck value.
    ///
    /// # Errors
    /// A [`HeaderError`] when it is not two 32-bit numbers and a method.
    pub fn parse(value: &str) -> Result<Self, HeaderError> {
        let malformed = |why| HeaderError::malformed(HeaderName::RAck, why);
        let (rseq, rest) = cut_before(trim(value), is_lws);
        let rseq = rseq
            .parse()
            .map_err(|_| malformed("its first number does not fit 32 bits"))?;
        let cseq = CSeq::parse(rest)
            .map_err(|_| malformed("no number and method stand behind the first number"))?;
        Ok(RAck {
            rseq,
            number: cseq.number,
            method: cseq.method,
        })
    }
}

impl fmt::Display for RAck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.rseq, self.number, self.method)
    }
}

impl Headers {
    /// RSeq; `None` when there is none or it is not a number above 0.
    pub fn rseq(&self) -> Option<u32> {
        decimal_saturating(self.get(&HeaderName::RSeq)?).filter(|number| *number > 0)
    }

    /// RAck.
    ///
    /// # Errors
    /// A [`HeaderError`] when there is none or it is malformed.
    pub fn rack(&self) -> Result<RAck, HeaderError> {
        let value = self
            .get(&HeaderName::RAck)
            .ok_or(HeaderError::Missing(HeaderName::RAck))?;
        RAck::parse(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rack_is_two_numbers_and_a_method() {
        let rack = RAck::parse(" 776656  1 INVITE ").unwrap();
        assert_eq!((rack.rseq, rack.number), (776_656, 1));
        assert_eq!(rack.to_string(), "776656 1 INVITE");
        for wrong in [
            "",
            "1",
            "1 2",
            "x 1 INVITE",
            "1 x INVITE",
            "4294967296 1 INVITE",
        ] {
            assert!(RAck::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
