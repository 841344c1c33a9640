//! Ctrl-C: the first asks the stages to stop at a safe point, the second ends the program at once.

use std::sync::atomic::{AtomicBool, Ordering};

use super::Exit;
use super::failure::Failure;
use super::output::say;

static CANCELLED: AtomicBool = AtomicBool::new(false);

/// Listens for Ctrl-C and for requests to terminate; the returned flag is set by the first.
pub(super) fn listen() -> Result<&'static AtomicBool, Failure> {
    on_signal(|| {
        if CANCELLED.swap(true, Ordering::Relaxed) {
            std::process::exit(Exit::Interrupted as i32);
        }
        say("stopping at the next safe point (once more to stop at once)");
    })
}

/// As [`listen`], where nobody is in a hurry: Slurm and the job's script may both ask, and mean the same.
pub(super) fn listen_patiently() -> Result<&'static AtomicBool, Failure> {
    on_signal(|| {
        if !CANCELLED.swap(true, Ordering::Relaxed) {
            say("stopping at the next safe point");
        }
    })
}

fn on_signal(handler: impl FnMut() + Send + 'static) -> Result<&'static AtomicBool, Failure> {
    ctrlc::set_handler(handler).map_err(|error| Failure::trouble(Exit::Failed, error))?;
    Ok(&CANCELLED)
}
