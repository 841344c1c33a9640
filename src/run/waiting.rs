//! Waiting for a lock that somebody else holds, and saying for whom.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::store::{Digest, Holder, KeyLock, LockAttempt, Store, StoreError};

/// How often a lock that somebody else holds is tried again.
const RETRY: Duration = Duration::from_millis(50);

/// Waits until nobody else holds the lock of a key; tells whether it had to. `what` is what others will read while they wait,
/// and `say` is told once for whom this waits, if that is known. Nothing once the user wants to stop.
pub(super) fn wait_for_lock(
    store: &Store,
    key: Digest,
    what: &str,
    cancelled: &AtomicBool,
    say: impl Fn(Option<Holder>),
) -> Result<Option<(KeyLock, bool)>, StoreError> {
    let mut attempts = 0;
    loop {
        match store.try_lock(key, what)? {
            LockAttempt::Held(lock) => return Ok(Some((lock, attempts > 0))),
            LockAttempt::Busy(holder) => {
                attempts += 1;
                // One retry in silence: whoever only looks for leftovers is done by then.
                if attempts == 2 {
                    say(holder);
                }
            }
        }
        if cancelled.load(Ordering::Relaxed) {
            return Ok(None);
        }
        thread::sleep(RETRY);
    }
}
