//! Ctrl-C: the first asks the stages to stop at a safe point, the second ends the program at once.

use std::sync::atomic::{AtomicBool, Ordering};

use super::Exit;
use super::failure::Failure;
use super::output::say;

static CANCELLED: AtomicBool = AtomicBool::new(false);

/// Listens for Ctrl-C and for requests to terminate; the returned flag is set by the first.
pub(super) fn listen() -> Result<&'static AtomicBool, Failure> {
    on_signal(HangUp::Stops, || {
        if CANCELLED.swap(true, Ordering::Relaxed) {
            std::process::exit(Exit::Interrupted as i32);
        }
        say("stopping at the next safe point (once more to stop at once)");
    })
}

/// As [`listen`], where nobody is in a hurry: Slurm and the job's script may both ask, and mean the same.
pub(super) fn listen_patiently() -> Result<&'static AtomicBool, Failure> {
    on_signal(HangUp::Stops, || {
        if !CANCELLED.swap(true, Ordering::Relaxed) {
            say("stopping at the next safe point");
        }
    })
}

/// As [`listen`], where what runs runs elsewhere: `first` is what the first Ctrl-C says, the second leaves it to itself, and
/// so does a terminal that hangs up.
pub(super) fn listen_from_afar(first: &'static str) -> Result<&'static AtomicBool, Failure> {
    on_signal(HangUp::Leaves, move || {
        if CANCELLED.swap(true, Ordering::Relaxed) {
            say("jobs go on: `mtorec attach` comes back to them, `mtorec attach --cancel` ends them");
            std::process::exit(Exit::Interrupted as i32);
        }
        say(first);
    })
}

/// What a terminal that hangs up does; nothing where `nohup` or its likes said so.
#[derive(Clone, Copy, PartialEq, Eq)]
enum HangUp {
    /// The same as Ctrl-C.
    Stops,
    /// It ends this program, and nothing else.
    Leaves,
}

fn on_signal(hang_up: HangUp, handler: impl FnMut() + Send + 'static) -> Result<&'static AtomicBool, Failure> {
    let listen = || ctrlc::set_handler(handler).map_err(|error| Failure::trouble(Exit::Failed, error));
    #[cfg(unix)]
    {
        use nix::sys::signal::{SigHandler, Signal, signal};
        let set = |to| {
            // SAFETY: no handler of ours is installed, only what the system does by itself
            unsafe { signal(Signal::SIGHUP, to) }.map_err(|error| Failure::trouble(Exit::Failed, error))
        };
        let before = set(SigHandler::SigIgn)?;
        listen()?;
        if matches!(before, SigHandler::SigIgn) {
            set(SigHandler::SigIgn)?;
        } else if hang_up == HangUp::Leaves {
            set(SigHandler::SigDfl)?;
        }
    }
    #[cfg(not(unix))]
    {
        let _ = hang_up;
        listen()?;
    }
    Ok(&CANCELLED)
}
