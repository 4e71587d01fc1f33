//! What a peer tells over its control connection, in order, for those who wait for something of it.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

/// All that was told so far. Clones are handles on the same.
#[derive(Clone, Debug, Default)]
pub struct Log(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    entries: Mutex<Vec<Value>>,
    grown: Condvar,
}

impl Log {
    /// One more, for which those who wait look.
    pub fn push(&self, entry: Value) {
        self.entries().push(entry);
        self.0.grown.notify_all();
    }

    /// All entries. Nothing is added while they are held.
    pub fn entries(&self) -> MutexGuard<'_, Vec<Value>> {
        self.0
            .entries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The first entry at or after `from` that fits, as soon as it is there; after `limit`, `None`.
    pub fn wait(
        &self,
        from: usize,
        limit: Duration,
        fits: impl Fn(&Value) -> bool,
    ) -> Option<Value> {
        let end = Instant::now() + limit;
        let mut entries = self.entries();
        loop {
            if let Some(found) = entries.iter().skip(from).find(|entry| fits(entry)) {
                return Some(found.clone());
            }
            let left = end.checked_duration_since(Instant::now())?;
            let waited = self.0.grown.wait_timeout(entries, left);
            entries = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_later_is_waited_for_and_what_came_before_is_not_taken() {
        let log = Log::default();
        log.push(Value::from(1));
        let teller = log.clone();
        let telling = std::thread::spawn(move || teller.push(Value::from(2)));
        let any = |_: &Value| true;
        assert_eq!(log.wait(1, Duration::from_secs(5), any), Some(2.into()));
        assert_eq!(log.wait(2, Duration::ZERO, any), None);
        telling.join().expect("it told");
    }
}
