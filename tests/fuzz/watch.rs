//! What an input must not do: panic (on any thread), take longer than it may, take more memory than it may, or end the
//! process. Whatever it does of these, it is written aside and named.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// An input hangs when it takes longer: some thousand times what the slowest sound one takes.
const LONGEST: Duration = Duration::from_secs(20);
/// Bytes beyond what was there before that an input may take.
const MOST: usize = 256 << 20;

/// Counts what is allocated, and ends the process when an input takes too much: an allocation cannot fail softly.
pub struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// Bytes at which the process ends.
static LIMIT: AtomicUsize = AtomicUsize::new(usize::MAX);
/// Set while the process ends, which takes some memory too.
static ENDING: AtomicBool = AtomicBool::new(false);

fn grown(by: usize) {
    let live = LIVE.fetch_add(by, Relaxed) + by;
    PEAK.fetch_max(live, Relaxed);
    if live > LIMIT.load(Relaxed) && !ENDING.swap(true, Relaxed) {
        end(&format!("takes more than {} MB of memory", MOST >> 20));
    }
}

// SAFETY: every call is the system allocator's own with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        grown(size);
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// When the input in work was begun, in milliseconds after the start; 0 when none is.
static BEGUN: AtomicU64 = AtomicU64::new(0);
static START: OnceLock<Instant> = OnceLock::new();
/// The first panic since the last look, on any thread.
static PANIC: Mutex<Option<String>> = Mutex::new(None);
/// Where the input in work lies.
static CURRENT: OnceLock<PathBuf> = OnceLock::new();

fn end(what: &str) {
    eprintln!("an input {what}: {}", CURRENT.get().map_or_else(String::new, |path| path.display().to_string()));
    std::process::abort();
}

/// Runs inputs under watch.
pub struct Watch {
    folder: PathBuf,
    current: File,
}

impl Watch {
    /// Starts to watch; inputs are kept in the folder.
    pub fn start(folder: &Path) -> Self {
        fs::create_dir_all(folder).expect("a folder");
        let path = CURRENT.get_or_init(|| folder.join(format!("current-{}", std::process::id())));
        let current = File::create(path).expect("a file");
        let start = *START.get_or_init(Instant::now);
        let default = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if BEGUN.load(Relaxed) > 0 {
                PANIC.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| info.to_string());
            } else {
                default(info);
            }
        }));
        thread::spawn(move || {
            loop {
                thread::sleep(Duration::from_millis(200));
                let begun = BEGUN.load(Relaxed);
                if begun > 0 && start.elapsed().as_millis() as u64 > begun + LONGEST.as_millis() as u64 {
                    end(&format!("takes more than {} s", LONGEST.as_secs()));
                }
            }
        });
        Self { folder: folder.to_path_buf(), current }
    }

    /// Runs one input; what came of it and how much memory it took, or what is wrong with it.
    pub fn run(
        &self,
        target: &str,
        input: &[u8],
        with: impl FnOnce(&[u8]) -> String,
    ) -> Result<(String, usize), String> {
        // it is on the disk before it runs: a stack that overflows leaves no time for it
        self.current.set_len(0).and_then(|()| self.current.write_all_at(input, 0)).expect("a file");
        let before = LIVE.load(Relaxed);
        PEAK.store(before, Relaxed);
        LIMIT.store(before + MOST, Relaxed);
        BEGUN.store(START.get_or_init(Instant::now).elapsed().as_millis() as u64 + 1, Relaxed);
        let outcome = catch_unwind(AssertUnwindSafe(|| with(input)));
        BEGUN.store(0, Relaxed);
        LIMIT.store(usize::MAX, Relaxed);
        let panic = PANIC.lock().unwrap_or_else(PoisonError::into_inner).take();
        match (outcome, panic) {
            (Ok(outcome), None) => Ok((outcome, PEAK.load(Relaxed).saturating_sub(before))),
            (_, panic) => {
                let digest =
                    input.iter().fold(0_u64, |hash, byte| hash.wrapping_mul(31).wrapping_add(u64::from(*byte)));
                let path = self.folder.join(format!("{target}-{digest:016x}"));
                fs::write(&path, input).expect("a file");
                Err(format!("{target}: {} on {}", panic.unwrap_or_default(), path.display()))
            }
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = CURRENT.get().map(fs::remove_file);
    }
}
