//! What is given back when everything is over: a storm must not be remembered in memory.

use super::{Core, UserAgent};

/// Entries that tables may keep room for.
const KEPT: usize = 1_024;

impl UserAgent {
    /// Gives the room of the tables back once nothing is under way. It is called often, and does its work once after
    /// there was much to do.
    pub(super) fn rest(&mut self) {
        if self.core.room() <= KEPT
            || self.core.transactions() > 0
            || !self.invites.is_empty()
            || !self.requests.is_empty()
        {
            return;
        }
        self.invites.shrink_to(KEPT);
        self.requests.shrink_to(KEPT);
        self.core.rest();
    }
}

impl Core {
    fn room(&self) -> usize {
        self.clients.room().max(self.servers.room())
    }

    fn rest(&mut self) {
        self.clients.rest();
        self.servers.rest();
        for table in [
            &mut self.client_keys,
            &mut self.server_keys,
            &mut self.merged,
        ] {
            table.shrink_to(KEPT);
        }
        self.dialogs.shrink_to(KEPT);
        self.out.shrink_to(64);
        self.timers.rest(KEPT);
    }
}
