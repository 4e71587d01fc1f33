//! Which unanswered requests a failed transport takes with it.
//!
//! Invariant: an unanswered request is filed under exactly one way, the one that it went out by as far as is
//! known, so that a connection that closes is looked up and no table is walked.

use std::net::SocketAddr;

use super::core::Core;
use super::{FailedTransport, FlowId, Protocol, Source, Target};
use crate::transaction::Handle;

/// How a request went out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    Flow(FlowId),
    Peer(Protocol, SocketAddr),
}

impl Way {
    fn of(target: &Target) -> Option<Self> {
        match (target.flow, target.remote) {
            (Some(flow), _) => Some(Way::Flow(flow)),
            (None, Some(remote)) => Some(Way::Peer(target.protocol, remote)),
            (None, None) => None,
        }
    }
}

impl Core {
    pub(super) fn file_client(&mut self, handle: Handle, target: &Target) {
        if let Some(way) = Way::of(target) {
            self.client_ways.insert((way, handle.to_bits()));
        }
    }

    pub(super) fn unfile_client(&mut self, handle: Handle, target: &Target) {
        if let Some(way) = Way::of(target) {
            self.client_ways.remove(&(way, handle.to_bits()));
        }
    }

    /// The unanswered requests that fail, in a repeatable order.
    pub(super) fn clients_on(&self, failed: &FailedTransport) -> Vec<Handle> {
        let mut found = Vec::new();
        if let Some(transaction) = failed.transaction {
            let handle = Handle::from_bits(transaction.0);
            if self
                .clients
                .get(handle)
                .is_some_and(|client| client.unanswered)
            {
                found.push(handle);
            }
        }
        let single = found.first().copied();
        let peer = failed
            .protocol
            .zip(failed.remote)
            .map(|(protocol, remote)| Way::Peer(protocol, remote));
        for way in failed.flow.map(Way::Flow).into_iter().chain(peer) {
            let range = (way, 0)..=(way, u64::MAX);
            for (_, bits) in self.client_ways.range(range) {
                let handle = Handle::from_bits(*bits);
                if Some(handle) != single {
                    found.push(handle);
                }
            }
        }
        found
    }

    /// The way that the shell chose for a transaction, for all that follows in it.
    pub(super) fn bind_client(&mut self, handle: Handle, remote: SocketAddr, flow: Option<FlowId>) {
        let Some(client) = self.clients.get_mut(handle) else {
            return;
        };
        let before = client.target.clone();
        client.target.remote = Some(remote);
        client.target.flow = flow;
        let (unanswered, after) = (client.unanswered, client.target.clone());
        if unanswered {
            self.unfile_client(handle, &before);
            self.file_client(handle, &after);
        }
    }

    /// Where a transaction's request goes next if it fails where it is.
    pub(super) fn set_alternatives(&mut self, handle: Handle, hops: std::sync::Arc<[super::Hop]>) {
        if let Some(client) = self.clients.get_mut(handle) {
            client.target.alternatives = hops;
        }
    }

    /// An answer shows the connection that a request went out on.
    pub(super) fn learn_flow(&mut self, handle: Handle, source: &Source) {
        let Some(client) = self.clients.get(handle) else {
            return;
        };
        let target = &client.target;
        if source.flow.is_some() && target.flow.is_none() && target.protocol == source.protocol {
            self.bind_client(handle, source.remote, source.flow);
        }
    }
}
