//! The way that a request came by, as a service may keep it: where answers
//! would go, and where a later call or request of ours can go (RFC 5626 5.3).

use std::net::SocketAddr;

use callbot_sip::Uri;
use callbot_sip::ua::{Source, Target};

use super::Locator;
use super::locate::Located;

/// The way back to whom a request came from: the socket and address of a
/// datagram, or the connection.
///
/// A registrar keeps it with a binding: a browser behind a WebSocket, or a
/// phone behind a NAT, is reached by it alone. When the connection is gone,
/// what is sent by it fails.
#[derive(Clone, PartialEq, Eq)]
pub struct Way(Source);

impl Way {
    pub(crate) fn of(source: &Source) -> Self {
        Self(source.clone())
    }

    /// The transport: `"UDP"`, `"WS"`.
    pub fn transport(&self) -> &'static str {
        self.0.protocol.via_name()
    }

    /// The address of the far end of it.
    pub fn remote(&self) -> SocketAddr {
        self.0.remote
    }

    /// Whether it is a connection, which ends.
    pub fn is_connection(&self) -> bool {
        self.0.flow.is_some()
    }

    /// A destination at the far end, whatever host its URI names.
    pub(super) fn locate(&self, uri: Uri, locator: &Locator) -> Located {
        Located {
            target: Target::back_to(&self.0),
            uri,
            remote: self.0.remote,
            media: locator.media_for(&self.0),
            line: locator.line(self.0.protocol, self.0.local),
        }
    }
}

impl std::fmt::Debug for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Way({} {})", self.transport(), self.remote())
    }
}
