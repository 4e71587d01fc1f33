//! What reading that INVITE costs in allocations: a line `NAME COUNT` for each contender.
//!
//! `cargo bench -p callbot-sip --bench allocations`. A program of its own, because counting replaces the allocator, and the time
//! that `parse` measures would be the counter's as well.

mod contenders;
mod invite;

use bytes::Bytes;
use contenders::{callbot, rsip, rsipstack};
use invite::INVITE;

/// Reads one INVITE with one crate.
type Read = fn(&Bytes);

fn main() {
    let datagram = Bytes::from(INVITE.as_bytes().to_vec());
    let all: [(&str, Read); 3] = [
        ("callbot", callbot),
        ("rsip", rsip),
        ("rsipstack", rsipstack),
    ];
    for (name, read) in all {
        // What a crate sets up once is no cost of a message.
        read(&datagram);
        let used = allocation_counter::measure(|| read(&datagram));
        println!("{name} {}", used.count_total);
    }
}
