//! Faults on purpose, for `tests/faults`: every touch of the disk and the network goes through a named point, and a
//! variable of the environment makes one passing of one point go wrong. Only with the cargo feature `faults`; without it
//! everything here is the bare operation.
//!
//! `MTOREC_FAULT=POINT:NTH:KIND` (counted from 1) makes that passing
//!
//! * `fail` with an I/O error, the operation not done;
//! * `tear`: half of the bytes are written, then it fails (where it does not write, as `fail`);
//! * `cut`: half of the bytes are written, then the process is killed (where it does not write, it is killed before);
//! * `kill`: the operation is done, then the process is killed.
//!
//! `MTOREC_FAULT_LOG=FILE` gets a line for each passing: the point's name, ` write` after it where bytes are written, and
//! ` !` where it went wrong.

use std::fs::File;
use std::io;
use std::path::Path;

#[cfg(not(feature = "faults"))]
pub(crate) use bare::{at, write};
#[cfg(feature = "faults")]
pub(crate) use injected::{at, write};

/// Writes a whole file, as [`std::fs::write`] does, through a point.
pub(crate) fn write_file(point: &'static str, path: &Path, bytes: &[u8]) -> io::Result<()> {
    write(point, File::create(path)?, bytes)
}

#[cfg(not(feature = "faults"))]
mod bare {
    use std::io::{self, Write};

    /// An operation that passes a point.
    #[inline(always)]
    pub(crate) fn at<T>(_point: &'static str, operation: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        operation()
    }

    /// Writes all bytes, through a point.
    #[inline(always)]
    pub(crate) fn write(_point: &'static str, mut to: impl Write, bytes: &[u8]) -> io::Result<()> {
        to.write_all(bytes)
    }
}

#[cfg(feature = "faults")]
mod injected {
    use std::collections::BTreeMap;
    use std::env;
    use std::fs::File;
    use std::io::{self, Write};
    use std::sync::{LazyLock, Mutex, PoisonError};

    #[derive(Clone, Copy)]
    enum Kind {
        Fail,
        Tear,
        Cut,
        Kill,
    }

    struct Fault {
        point: String,
        nth: u64,
        kind: Kind,
    }

    /// What shall go wrong. A variable that says nothing sensible ends the process: a test that asks for no fault by
    /// mistake would pass.
    static FAULT: LazyLock<Option<Fault>> = LazyLock::new(|| {
        let text = env::var("MTOREC_FAULT").ok()?;
        let fault = parse(&text);
        if fault.is_none() {
            eprintln!("`MTOREC_FAULT={text}` is not POINT:NTH:KIND, KIND one of fail, tear, cut, kill");
            std::process::exit(2);
        }
        fault
    });

    fn parse(text: &str) -> Option<Fault> {
        let (rest, kind) = text.rsplit_once(':')?;
        let (point, nth) = rest.rsplit_once(':')?;
        let kind = match kind {
            "fail" => Kind::Fail,
            "tear" => Kind::Tear,
            "cut" => Kind::Cut,
            "kill" => Kind::Kill,
            _ => return None,
        };
        Some(Fault { point: point.to_owned(), nth: nth.parse().ok()?, kind })
    }

    /// Counts a passing and says what shall go wrong with it.
    fn pass(point: &'static str, writes: bool) -> Option<Kind> {
        static PASSED: Mutex<BTreeMap<&str, u64>> = Mutex::new(BTreeMap::new());
        static LOG: LazyLock<Option<File>> = LazyLock::new(|| {
            let path = env::var_os("MTOREC_FAULT_LOG")?;
            File::options().create(true).append(true).open(path).ok()
        });
        let mut passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
        let count = passed.entry(point).or_default();
        *count += 1;
        let kind = FAULT.as_ref().filter(|fault| fault.point == point && fault.nth == *count).map(|fault| fault.kind);
        if let Some(mut log) = LOG.as_ref() {
            let (write, hit) = (if writes { " write" } else { "" }, if kind.is_some() { " !" } else { "" });
            // one write a line, so that a process that is killed leaves whole ones
            let _ = log.write_all(format!("{point}{write}{hit}\n").as_bytes());
        }
        kind
    }

    pub(crate) fn at<T>(point: &'static str, operation: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match pass(point, false) {
            None => operation(),
            Some(Kind::Fail | Kind::Tear) => Err(injected()),
            Some(Kind::Cut) => kill(),
            Some(Kind::Kill) => {
                let _ = operation();
                kill()
            }
        }
    }

    pub(crate) fn write(point: &'static str, mut to: impl Write, bytes: &[u8]) -> io::Result<()> {
        let half = &bytes[..bytes.len() / 2];
        match pass(point, true) {
            None => to.write_all(bytes),
            Some(Kind::Fail) => Err(injected()),
            Some(Kind::Tear) => to.write_all(half).and_then(|()| to.flush()).and(Err(injected())),
            Some(Kind::Cut) => {
                let _ = to.write_all(half).and_then(|()| to.flush());
                kill()
            }
            Some(Kind::Kill) => {
                let _ = to.write_all(bytes).and_then(|()| to.flush());
                kill()
            }
        }
    }

    fn injected() -> io::Error {
        io::Error::other("a fault on purpose")
    }

    /// Ends the process as `kill -9` does: nothing is unwound, flushed or removed.
    fn kill() -> ! {
        #[cfg(unix)]
        {
            use nix::sys::signal::{Signal, kill};
            let _ = kill(nix::unistd::Pid::this(), Signal::SIGKILL);
        }
        std::process::abort()
    }
}
