//! Files from the web: fetched whole or not at all, and gone on with where a connection broke.

mod address;
mod backoff;
mod digest;
mod error;
mod exchange;
mod part;
mod proxy;
#[cfg(test)]
#[path = "../../tests/server/mod.rs"]
mod server;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

pub use address::{Address, AddressError};
pub use backoff::Patience;
pub use digest::{ParseSha256Error, Sha256};
pub use error::FetchError;

use error::Broken;
use exchange::{Ask, Event};
use part::Part;
pub(crate) use proxy::proxy_for;

use proxy::ProxyFor;

/// How often a wait looks whether the user wants to stop.
const TICK: Duration = Duration::from_millis(50);

/// A file to fetch.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// Where from.
    pub address: Address,
    /// What it must hold, where that is known.
    pub sha256: Option<Sha256>,
    /// Where to; its folder is made if need be.
    pub to: &'a Path,
}

/// Who watches a fetch.
pub trait Watch {
    /// Whether the user wants to stop.
    fn cancelled(&self) -> bool;
    /// The server answers: how many bytes the whole file has, where it says so.
    fn begin(&self, total: Option<u64>);
    /// How many bytes are there, and how many come in a second.
    fn at(&self, done: u64, rate: f64);
    /// Something worth knowing: a wait, a new attempt.
    fn note(&self, line: &str);
}

/// What a fetch came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fetched {
    /// The file is there, and this is what it holds.
    New(Sha256),
    /// Somebody else put it there in the meantime.
    Present,
}

/// Fetches files.
pub struct Fetcher {
    patience: Patience,
    /// Waits; a function so that tests need not.
    wait: fn(Duration, &dyn Watch) -> Result<(), FetchError>,
    proxy: ProxyFor,
}

impl Default for Fetcher {
    fn default() -> Self {
        Self { patience: Patience::default(), wait: pause, proxy: proxy_for }
    }
}

impl Fetcher {
    /// Fetches a file to its place. It grows in a hidden file beside that place, which outlives a killed process, is locked
    /// against other ones, and is renamed only when it is complete and holds what it should.
    ///
    /// Connections that break or stall, 5xx and 429 are tried again, as often as the [`Patience`] says without a further
    /// byte. What is there is gone on with when the server shows by `ETag` or `Last-Modified` that its file is still the
    /// same one.
    ///
    /// # Errors
    /// [`FetchError`]; what had come is kept for the next call, unless its digest is wrong.
    pub fn fetch(&self, wanted: &Wanted, watch: &dyn Watch) -> Result<Fetched, FetchError> {
        let Some(mut part) = Part::open(wanted.to, &wanted.address, watch)? else { return Ok(Fetched::Present) };
        let (mut furthest, mut failures, mut mended) = (part.length(), 0, false);
        if furthest > 0 {
            watch.note(&format!("goes on after {furthest} bytes of {}", wanted.address));
        }
        loop {
            let (what, after) = match self.attempt(&wanted.address, &mut part, watch) {
                Ok(()) => {
                    let got = part.sha256(watch)?;
                    match wanted.sha256 {
                        // Pieces of two files, perhaps: the server may have changed it without saying so.
                        Some(expected) if expected != got && part.is_pieced() && !mended => {
                            mended = true;
                            part.clear()?;
                            watch.note("the pieces do not add up to the right file; it is fetched anew");
                            continue;
                        }
                        Some(expected) if expected != got => {
                            part.remove()?;
                            return Err(FetchError::Digest { address: wanted.address.clone(), expected, got });
                        }
                        _ => {}
                    }
                    part.finish(wanted.to)?;
                    return Ok(Fetched::New(got));
                }
                Err(Broken::Never(error)) => return Err(error),
                Err(Broken::Again { what, after }) => (what, after),
                Err(Broken::Afresh(what)) => {
                    part.clear()?;
                    (what, None)
                }
            };
            if part.length() > furthest {
                (furthest, failures) = (part.length(), 0);
            }
            failures += 1;
            let wait = self.patience.wait(failures, rand::random_range(0.5..1.0), after);
            let Some(wait) = wait else {
                return Err(FetchError::GaveUp { address: wanted.address.clone(), what, kept: part.length() });
            };
            watch.note(&format!("{what}; tries again in {:.1} s", wait.as_secs_f64()));
            (self.wait)(wait, watch)?;
        }
    }

    /// One exchange with the server, which takes the part as far as it can.
    fn attempt(&self, address: &Address, part: &mut Part, watch: &dyn Watch) -> Result<(), Broken> {
        if part.is_complete() {
            return Ok(());
        }
        // On a thread of its own: a connection that says nothing must not keep the user from stopping.
        let ask = Ask { address: address.clone(), resume: part.resume(), patience: self.patience, proxy: self.proxy };
        let events = exchange::start(ask);
        let (mut start, mut before) = (Instant::now(), part.length());
        loop {
            match events.recv_timeout(TICK) {
                Ok(Event::Head(head)) => {
                    let had = part.length();
                    part.begin(&head)?;
                    if had > part.length() {
                        watch.note("the server sends the file from its beginning");
                    }
                    (start, before) = (Instant::now(), part.length());
                    watch.begin(head.total);
                }
                Ok(Event::Bytes(bytes)) => {
                    part.append(&bytes)?;
                    let rate = (part.length() - before) as f64 / start.elapsed().as_secs_f64().max(1e-3);
                    watch.at(part.length(), rate);
                }
                Ok(Event::End(end)) => {
                    end?;
                    return part.ends();
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(Broken::again("the connection broke")),
            }
            if watch.cancelled() {
                return Err(FetchError::Interrupted.into());
            }
        }
    }
}

/// Sleeps, unless the user wants to stop.
fn pause(time: Duration, watch: &dyn Watch) -> Result<(), FetchError> {
    let end = Instant::now() + time;
    loop {
        if watch.cancelled() {
            return Err(FetchError::Interrupted);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(TICK));
    }
}
