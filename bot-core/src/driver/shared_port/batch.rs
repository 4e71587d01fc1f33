//! Many datagrams in one system call: `recvmmsg` and `sendmmsg`.

use std::io::{IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};
use std::time::Instant;

use nix::libc::in6_pktinfo;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrStorage, recvmmsg, send, sendmmsg, sendto};

use crate::driver::socket::{DATAGRAM, Received, UdpPair, read_message};

/// Datagrams read by one call.
pub(super) const SIZE: usize = 32;
/// Datagrams sent by one call.
const TOGETHER: usize = 64;

thread_local! {
    /// Where this thread reads to.
    static MEMORY: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; SIZE * DATAGRAM]);
}

/// Reads up to [`SIZE`] datagrams that wait, and says how many there were; `None` when an error stood before them, such as that
/// of a packet of ours that was refused.
pub(super) fn receive(
    pair: &UdpPair,
    now: Instant,
    mut take: impl FnMut(Received, &[u8]),
) -> Option<usize> {
    MEMORY.with_borrow_mut(|memory| {
        let control = nix::cmsg_space!(nix::sys::time::TimeSpec, in6_pktinfo);
        // The kernel writes lengths into the headers, which must be as they were for the next call.
        let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(SIZE, Some(control));
        let mut metas: [Option<Received>; SIZE] = [const { None }; SIZE];
        let mut count = 0;
        {
            let mut pieces = memory.chunks_exact_mut(DATAGRAM);
            let mut slices: [[IoSliceMut<'_>; 1]; SIZE] =
                std::array::from_fn(|_| [IoSliceMut::new(pieces.next().unwrap_or_default())]);
            let read = recvmmsg(
                pair.rtp_fd().as_raw_fd(),
                &mut headers,
                slices.iter_mut(),
                MsgFlags::MSG_DONTWAIT,
                None,
            );
            let read = match read {
                Ok(read) => read,
                Err(nix::errno::Errno::EAGAIN) => return Some(0),
                Err(_) => return None,
            };
            for message in read {
                if let Some(meta) = metas.get_mut(count) {
                    *meta = read_message(&message, now).map(|mut received| {
                        if let Some(local) = &mut received.local {
                            local.set_port(pair.port());
                        }
                        received
                    });
                }
                count += 1;
            }
        }
        for (meta, datagram) in metas
            .into_iter()
            .zip(memory.chunks_exact(DATAGRAM))
            .take(count)
        {
            if let Some(received) = meta {
                let datagram = datagram.get(..received.len).unwrap_or_default();
                take(received, datagram);
            }
        }
        Some(count)
    })
}

/// Datagrams that wait to be sent together: in a row they cost less than one by one between other work, and from one
/// socket a single system call for all.
#[derive(Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    entries: Vec<Outgoing>,
}

struct Outgoing {
    socket: RawFd,
    /// `None` where the socket is connected to it.
    destination: Option<SocketAddr>,
    end: usize,
}

impl Outbox {
    /// Adds one; whether it is time to send them.
    pub(crate) fn push(
        &mut self,
        socket: RawFd,
        destination: Option<SocketAddr>,
        payload: &[u8],
    ) -> bool {
        self.bytes.extend_from_slice(payload);
        self.entries.push(Outgoing {
            socket,
            destination,
            end: self.bytes.len(),
        });
        self.entries.len() >= TOGETHER
    }
}

/// Sends what waits. To be called before any of the sockets may be closed.
pub(crate) fn send_all(outbox: &mut Outbox) {
    let Outbox { bytes, entries } = outbox;
    let mut start = 0;
    for group in entries.chunk_by(|a, b| a.socket == b.socket) {
        let end = group.last().map_or(start, |last| last.end);
        if let [single] = group {
            let payload = bytes.get(start..end).unwrap_or_default();
            let sent = match single.destination {
                Some(to) => sendto(
                    single.socket,
                    payload,
                    &SockaddrStorage::from(to),
                    MsgFlags::MSG_DONTWAIT,
                ),
                None => send(single.socket, payload, MsgFlags::MSG_DONTWAIT),
            };
            if let Err(error) = sent {
                tracing::trace!(destination = ?single.destination, %error, "RTP not sent");
            }
        } else {
            send_group(group, bytes, start);
        }
        start = end;
    }
    entries.clear();
    bytes.clear();
}

/// Sends what goes by one socket. One that is refused does not keep those behind it.
fn send_group(group: &[Outgoing], bytes: &[u8], mut start: usize) {
    for part in group.chunks(TOGETHER) {
        let mut slices: [[IoSlice<'_>; 1]; TOGETHER] = std::array::from_fn(|_| [IoSlice::new(&[])]);
        let mut addresses: [Option<SockaddrStorage>; TOGETHER] = [const { None }; TOGETHER];
        for ((slice, address), outgoing) in slices.iter_mut().zip(&mut addresses).zip(part) {
            *slice = [IoSlice::new(
                bytes.get(start..outgoing.end).unwrap_or_default(),
            )];
            *address = outgoing.destination.map(SockaddrStorage::from);
            start = outgoing.end;
        }
        let Some(socket) = part.first().map(|first| first.socket) else {
            return;
        };
        let mut done = 0;
        while done < part.len() {
            let mut headers = MultiHeaders::<SockaddrStorage>::preallocate(part.len() - done, None);
            let sent = sendmmsg(
                socket,
                &mut headers,
                slices.get(done..part.len()).unwrap_or_default(),
                addresses.get(done..part.len()).unwrap_or_default(),
                [],
                MsgFlags::MSG_DONTWAIT,
            )
            .map(Iterator::count);
            match sent {
                Ok(sent @ 1..) => done += sent,
                // A full socket buffer loses the packets, as a network would.
                Err(nix::errno::Errno::EAGAIN) => return,
                Ok(0) | Err(_) => done += 1,
            }
        }
    }
}
