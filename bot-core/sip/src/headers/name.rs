//! Header names, with their compact forms (RFC 3261 section 7.3.3).

use std::fmt;
use std::hash::{Hash, Hasher};

use bytes::Bytes;

macro_rules! header_names {
    ($($variant:ident $canonical:literal $($lower:literal)|+;)*) => {
        /// The name of a header. Equality and hashing ignore case, as RFC 3261 section 7.3.1 wants.
        #[derive(Clone)]
        #[non_exhaustive]
        #[allow(missing_docs)] // each variant is the header that it is named after
        pub enum HeaderName {
            $($variant,)*
            /// Any other name, as it was written. Made by `HeaderName::from`, which maps known names to their variants.
            Other(Bytes),
        }

        impl HeaderName {
            /// The name as it is written in a message: the canonical spelling, or what was received for an unknown one.
            pub fn as_bytes(&self) -> &[u8] {
                match self {
                    $(HeaderName::$variant => $canonical.as_bytes(),)*
                    HeaderName::Other(name) => name,
                }
            }
        }

        /// Every spelling of a known name, in lower case, with the canonical one.
        const SPELLINGS: &[(&[u8], &str, HeaderName)] =
            &[$($(($lower, $canonical, HeaderName::$variant),)+)*];

        /// Every known name with its canonical spelling.
        #[cfg(test)]
        pub(crate) const KNOWN: &[(HeaderName, &str)] = &[$((HeaderName::$variant, $canonical),)*];
    };
}

header_names! {
    Via "Via" b"via" | b"v";
    From "From" b"from" | b"f";
    To "To" b"to" | b"t";
    CallId "Call-ID" b"call-id" | b"i";
    CSeq "CSeq" b"cseq";
    MaxForwards "Max-Forwards" b"max-forwards";
    Contact "Contact" b"contact" | b"m";
    RecordRoute "Record-Route" b"record-route";
    Route "Route" b"route";
    ContentType "Content-Type" b"content-type" | b"c";
    ContentLength "Content-Length" b"content-length" | b"l";
    ContentEncoding "Content-Encoding" b"content-encoding" | b"e";
    ContentDisposition "Content-Disposition" b"content-disposition";
    ContentLanguage "Content-Language" b"content-language";
    Expires "Expires" b"expires";
    Allow "Allow" b"allow";
    AllowEvents "Allow-Events" b"allow-events" | b"u";
    Supported "Supported" b"supported" | b"k";
    Require "Require" b"require";
    ProxyRequire "Proxy-Require" b"proxy-require";
    Unsupported "Unsupported" b"unsupported";
    WwwAuthenticate "WWW-Authenticate" b"www-authenticate";
    ProxyAuthenticate "Proxy-Authenticate" b"proxy-authenticate";
    Authorization "Authorization" b"authorization";
    ProxyAuthorization "Proxy-Authorization" b"proxy-authorization";
    AuthenticationInfo "Authentication-Info" b"authentication-info";
    ProxyAuthenticationInfo "Proxy-Authentication-Info" b"proxy-authentication-info";
    UserAgent "User-Agent" b"user-agent";
    Server "Server" b"server";
    RetryAfter "Retry-After" b"retry-after";
    MinExpires "Min-Expires" b"min-expires";
    Accept "Accept" b"accept";
    AcceptContact "Accept-Contact" b"accept-contact" | b"a";
    AcceptEncoding "Accept-Encoding" b"accept-encoding";
    AcceptLanguage "Accept-Language" b"accept-language";
    AlertInfo "Alert-Info" b"alert-info";
    CallInfo "Call-Info" b"call-info";
    Date "Date" b"date";
    Diversion "Diversion" b"diversion";
    ErrorInfo "Error-Info" b"error-info";
    FlowTimer "Flow-Timer" b"flow-timer";
    Event "Event" b"event" | b"o";
    HistoryInfo "History-Info" b"history-info";
    Identity "Identity" b"identity" | b"y";
    InReplyTo "In-Reply-To" b"in-reply-to";
    InfoPackage "Info-Package" b"info-package";
    Join "Join" b"join";
    MimeVersion "MIME-Version" b"mime-version";
    MinSe "Min-SE" b"min-se";
    Organization "Organization" b"organization";
    PAccessNetworkInfo "P-Access-Network-Info" b"p-access-network-info";
    PAssertedIdentity "P-Asserted-Identity" b"p-asserted-identity";
    PAssociatedUri "P-Associated-URI" b"p-associated-uri";
    PCalledPartyId "P-Called-Party-ID" b"p-called-party-id";
    PPreferredIdentity "P-Preferred-Identity" b"p-preferred-identity";
    Path "Path" b"path";
    Priority "Priority" b"priority";
    Privacy "Privacy" b"privacy";
    RAck "RAck" b"rack";
    RSeq "RSeq" b"rseq";
    Reason "Reason" b"reason";
    RecvInfo "Recv-Info" b"recv-info";
    ReferSub "Refer-Sub" b"refer-sub";
    ReferTo "Refer-To" b"refer-to" | b"r";
    ReferredBy "Referred-By" b"referred-by" | b"b";
    RejectContact "Reject-Contact" b"reject-contact" | b"j";
    RemotePartyId "Remote-Party-ID" b"remote-party-id";
    Replaces "Replaces" b"replaces";
    ReplyTo "Reply-To" b"reply-to";
    RequestDisposition "Request-Disposition" b"request-disposition" | b"d";
    ServiceRoute "Service-Route" b"service-route";
    SessionExpires "Session-Expires" b"session-expires" | b"x";
    SipEtag "SIP-ETag" b"sip-etag";
    SipIfMatch "SIP-If-Match" b"sip-if-match";
    Subject "Subject" b"subject" | b"s";
    SubscriptionState "Subscription-State" b"subscription-state";
    TargetDialog "Target-Dialog" b"target-dialog";
    Timestamp "Timestamp" b"timestamp";
    Warning "Warning" b"warning";
}

/// Where in [`SPELLINGS`] a name is, by its [`hash`]; [`NONE`] where no known name is. No two names fall together.
static PLACES: [u8; 1024] = match places(SEED) {
    Some(places) => places,
    None => panic!("seed() returns a seed under which no two names fall together"),
};

const NONE: u8 = u8::MAX;

/// What makes [`hash`] perfect. The compiler finds it, so that names can be added above without further thought.
const SEED: usize = seed();

const fn seed() -> usize {
    let mut seed = 0x9e37;
    while places(seed).is_none() {
        seed += 2;
    }
    seed
}

const fn places(seed: usize) -> Option<[u8; 1024]> {
    let mut places = [NONE; 1024];
    let mut index = 0;
    while index < SPELLINGS.len() {
        let place = hash(SPELLINGS[index].0, seed);
        if places[place] != NONE {
            return None;
        }
        places[place] = index as u8;
        index += 1;
    }
    Some(places)
}

/// A number below 1024, from the length and three letters of a name. `name` must not be empty; its case does not matter.
const fn hash(name: &[u8], seed: usize) -> usize {
    let first = (name[0] | 0x20) as usize;
    let middle = (name[name.len() / 2] | 0x20) as usize;
    let last = (name[name.len() - 1] | 0x20) as usize;
    let mixed = (((first * 31 + middle) * 31 + last) * 31 + name.len()).wrapping_mul(seed);
    (mixed >> 6) & 1023
}

impl HeaderName {
    /// The known name that `name` is, in any case and also in its compact form.
    #[inline]
    pub(crate) fn from_known(name: &[u8]) -> Option<HeaderName> {
        if name.is_empty() {
            return None;
        }
        let (spelling, canonical, known) = SPELLINGS.get(usize::from(PLACES[hash(name, SEED)]))?;
        // Nearly everyone writes the canonical spelling, and comparing that is one call of memcmp.
        (canonical.as_bytes() == name || spelling.eq_ignore_ascii_case(name)).then(|| known.clone())
    }

    /// The name as text. Names are tokens and so always text; one that a program made otherwise is empty here.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl From<&str> for HeaderName {
    /// The known name that `name` is, in any case or in compact form; else that name itself.
    fn from(name: &str) -> Self {
        HeaderName::from_known(name.as_bytes())
            .unwrap_or_else(|| HeaderName::Other(Bytes::copy_from_slice(name.as_bytes())))
    }
}

impl PartialEq for HeaderName {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        if std::mem::discriminant(self) != std::mem::discriminant(other) {
            return false;
        }
        match (self, other) {
            (HeaderName::Other(a), HeaderName::Other(b)) => a.eq_ignore_ascii_case(b),
            _ => true,
        }
    }
}

impl Eq for HeaderName {}

impl Hash for HeaderName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for byte in self.as_bytes() {
            state.write_u8(byte.to_ascii_lowercase());
        }
    }
}

impl fmt::Display for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(self.as_bytes()))
    }
}

impl fmt::Debug for HeaderName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_in_any_case_and_written_canonically() {
        for (name, canonical) in KNOWN {
            assert_eq!(name.as_str(), *canonical);
            for spelling in [
                canonical.to_string(),
                canonical.to_uppercase(),
                canonical.to_lowercase(),
            ] {
                assert_eq!(
                    HeaderName::from_known(spelling.as_bytes()),
                    Some(name.clone()),
                    "{spelling}"
                );
            }
            let longer = format!("{canonical}x");
            assert!(
                matches!(HeaderName::from(longer.as_str()), HeaderName::Other(_)),
                "{longer}"
            );
        }
        for (spelling, canonical, name) in SPELLINGS {
            assert_eq!(HeaderName::from_known(spelling), Some(name.clone()));
            assert_eq!(name.as_str(), *canonical);
        }
    }

    #[test]
    fn names_with_the_hash_of_a_known_one_are_not_taken_for_it() {
        // "Cxxtxxt" has the length, the first, the middle and the last letter of Contact.
        for name in ["Cxxtxxt", "Vka", "v@", "", " ", "\0"] {
            assert_eq!(HeaderName::from_known(name.as_bytes()), None, "{name:?}");
        }
    }
}
