//! Datagrams on their way between a media thread and the task that talks to a TURN server, or the port that it shares.
//!
//! Invariants: bounded in packets and bytes, and what does not fit is lost, as on a network; nothing allocates once it has
//! been as full as it gets; neither side waits for the other while it holds the lock, which is as long as a copy takes.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::Notify;

/// Packets that may wait: more than a second of one call.
const PACKETS: usize = 64;

/// Bytes that may wait.
const BYTES: usize = 32 * 1024;

/// One direction. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Pipe {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Wakes the task that reads.
    filled: Notify,
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<Entry>,
    bytes: VecDeque<u8>,
    lost: u64,
    closed: bool,
}

#[derive(Clone, Copy)]
struct Entry {
    peer: SocketAddr,
    local: Option<SocketAddr>,
    at: Instant,
    length: usize,
}

/// A datagram taken out, in the buffer that was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Whom it is from, or to.
    pub(crate) peer: SocketAddr,
    /// The address of ours that it came to, where that matters.
    pub(crate) local: Option<SocketAddr>,
    /// When it came.
    pub(crate) at: Instant,
    pub(crate) length: usize,
}

impl Pipe {
    /// Puts a datagram in; whether there was room.
    pub(crate) fn push(&self, at: Instant, peer: SocketAddr, datagram: &[u8]) -> bool {
        self.push_to(at, peer, None, datagram)
    }

    /// The same for a datagram that came to this address of ours.
    pub(crate) fn push_to(
        &self,
        at: Instant,
        peer: SocketAddr,
        local: Option<SocketAddr>,
        datagram: &[u8],
    ) -> bool {
        {
            let mut queue = self.lock();
            let full = queue.entries.len() >= PACKETS || queue.bytes.len() + datagram.len() > BYTES;
            if full || queue.closed {
                queue.lost += 1;
                return false;
            }
            queue.bytes.extend(datagram);
            queue.entries.push_back(Entry {
                peer,
                local,
                at,
                length: datagram.len(),
            });
        }
        self.shared.filled.notify_one();
        true
    }

    /// Takes the oldest datagram out. What is longer than `buffer` is cut off.
    pub(crate) fn pop(&self, buffer: &mut [u8]) -> Option<Taken> {
        let mut queue = self.lock();
        let Entry {
            peer,
            local,
            at,
            length,
        } = queue.entries.pop_front()?;
        for (byte, place) in queue.bytes.drain(..length).zip(buffer.iter_mut()) {
            *place = byte;
        }
        Some(Taken {
            peer,
            local,
            at,
            length: length.min(buffer.len()),
        })
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().entries.is_empty()
    }

    /// Nothing more comes in.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.shared.filled.notify_one();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Datagrams that found no room.
    pub(super) fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// Resolves when something was put in, or the pipe was closed. Cancel safe.
    pub(super) async fn filled(&self) {
        self.shared.filled.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.shared
            .queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_comes_out_in_order_and_no_more_than_there_is_room_for() {
        let pipe = Pipe::default();
        let now = Instant::now();
        let peer: SocketAddr = "192.0.2.1:7".parse().unwrap();
        let mut buffer = [0; 2048];
        assert_eq!(pipe.pop(&mut buffer), None);
        for n in 0..100u8 {
            assert_eq!(pipe.push(now, peer, &[n; 100]), n < 64);
        }
        assert_eq!(pipe.lost(), 36);
        for n in 0..64u8 {
            let taken = pipe.pop(&mut buffer).unwrap();
            assert_eq!((taken.peer, taken.length), (peer, 100));
            assert_eq!(buffer[..100], [n; 100]);
        }
        assert_eq!(pipe.pop(&mut buffer), None);
        assert!(
            !pipe.push(now, peer, &vec![0; 40_000]),
            "bytes are bounded too"
        );
        pipe.push(now, peer, &[9; 30]);
        assert_eq!(pipe.pop(&mut buffer[..20]).unwrap().length, 20);
        assert_eq!(pipe.pop(&mut buffer), None, "the rest went with its head");
        pipe.close();
        assert!(!pipe.push(now, peer, b"late"));
    }
}
