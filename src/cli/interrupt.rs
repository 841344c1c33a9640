//! Ctrl-C: the first asks the stages to stop at a safe point, the second ends the program at once.

use std::sync::atomic::{AtomicBool, Ordering};

use super::Exit;
use super::failure::Failure;
use super::output::say;

static CANCELLED: AtomicBool = AtomicBool::new(false);

/// Listens for Ctrl-C and for requests to terminate; the returned flag is set by the first.
pub(super) fn listen() -> Result<&'static AtomicBool, Failure> {
    ctrlc::set_handler(|| {
        if CANCELLED.swap(true, Ordering::Relaxed) {
            std::process::exit(Exit::Interrupted as i32);
        }
        say("stopping at the next safe point (once more to stop at once)");
    })
    .map_err(|error| Failure::trouble(Exit::Failed, error))?;
    Ok(&CANCELLED)
}
