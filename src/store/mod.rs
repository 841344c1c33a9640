//! The artifact store of a project, `.mtorec/`: artifacts named by what made them, written aside, flushed and renamed
//! so that one is either there whole or not at all, and believed only when intact. It knows recipes and files, but no
//! stage: what a recipe means is decided above.

mod artifact;
mod atomic;
mod digest;
mod draft;
mod error;
mod file_digests;
mod folder;
mod gc;
mod incoming;
mod lock;
mod machine;
mod manifest;
mod recipe;

pub use artifact::{Artifact, Lookup};
pub use atomic::write_atomically;
pub use digest::{Digest, ParseDigestError};
pub use draft::Draft;
pub use error::StoreError;
pub use file_digests::FileDigests;
pub use folder::Store;
pub(crate) use folder::list;
pub use gc::{Candidate, Garbage, GcRule};
pub use incoming::{Incoming, Part};
pub use lock::{Holder, KeyLock, LockAttempt};
pub use machine::Machine;
pub use manifest::{FileEntry, Finished, Manifest};
pub use recipe::{Change, Recipe};
