//! RTP ports: even numbers of a range, reused first-in first-out.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use super::memory::MemoryHost;
use super::socket::{MediaSocket, UdpPair};

/// The pool of RTP ports of one endpoint. Clones share it.
#[derive(Clone)]
pub(crate) struct RtpPorts {
    free: Arc<Mutex<VecDeque<u16>>>,
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Sockets,
    Memory(MemoryHost),
}

/// A port pair taken from the pool; given back when dropped.
pub(crate) struct Lease {
    port: u16,
    free: Arc<Mutex<VecDeque<u16>>>,
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.free
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back(self.port);
    }
}

impl RtpPorts {
    pub(crate) fn new(range: RangeInclusive<u16>, memory: Option<MemoryHost>) -> Self {
        let last = range.end().saturating_sub(1);
        let free = (*range.start()..=last)
            .filter(|port| port % 2 == 0)
            .collect();
        Self {
            free: Arc::new(Mutex::new(free)),
            kind: memory.map_or(Kind::Sockets, Kind::Memory),
        }
    }

    /// Binds an RTP port and the RTCP port above it on `ip`. Ports that another
    /// program holds are passed over. `None` when no port is left.
    pub(crate) fn take(&self, ip: IpAddr) -> Option<(MediaSocket, u16)> {
        let tries = self.lock().len();
        for _ in 0..tries {
            let port = self.lock().pop_front()?;
            let lease = Lease {
                port,
                free: self.free.clone(),
            };
            match self.bind(ip, port, lease) {
                Ok(socket) => return Some((socket, port)),
                Err(error) => {
                    tracing::debug!(port, %error, "RTP port not to be had");
                    // Out of descriptors: every further port would fail alike.
                    if error.raw_os_error() == Some(nix::errno::Errno::EMFILE as i32) {
                        tracing::warn!(
                            "no file descriptor left for an RTP port: raise the limit (ulimit -n)"
                        );
                        return None;
                    }
                }
            }
        }
        None
    }

    fn bind(&self, ip: IpAddr, port: u16, lease: Lease) -> std::io::Result<MediaSocket> {
        let rtp = SocketAddr::new(ip, port);
        let rtcp = SocketAddr::new(ip, port + 1);
        match &self.kind {
            Kind::Memory(host) => Ok(MediaSocket::Memory {
                rtp: host.network().bind(rtp)?,
                rtcp: host.network().bind(rtcp)?,
                _lease: lease,
            }),
            Kind::Sockets => Ok(MediaSocket::Udp(UdpPair::bind(rtp, rtcp, lease)?)),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<u16>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
