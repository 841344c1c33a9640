//! One file per stage kind: a function from input artifacts and parameters to an output artifact.

mod build_model;
pub mod compare;
pub mod describe;
mod download;
pub mod evaluate;
#[cfg(test)]
pub(crate) mod fake;
mod init;
pub mod loading;
pub mod predict;
mod preprocess;
pub mod toy;
pub mod train;
mod work;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::store::{Artifact, Digest, Draft, FileDigests};
use crate::tensor::Fault;

pub use evaluate::METRICS;
pub use work::{Work, entries};

/// What every stage may use while it runs.
pub struct Context<'a> {
    /// The project's folder: relative paths in a pipeline start here.
    pub root: &'a Path,
    /// Where tensors live.
    pub device: Device,
    /// Where to say how far it is.
    pub progress: &'a dyn Progress,
    /// Set when the user wants to stop; a stage then returns [`StageError::Interrupted`] soon.
    pub cancelled: &'a AtomicBool,
    /// What is known of files outside the store.
    pub digests: &'a FileDigests,
    /// A folder of this stage's key that outlives a killed run: checkpoints go here. Removed when the artifact is complete.
    pub scratch: &'a Path,
}

impl Context<'_> {
    /// Fails once the user wants to stop.
    ///
    /// # Errors
    /// [`StageError::Interrupted`].
    pub fn check_interrupt(&self) -> Result<(), StageError> {
        if self.cancelled.load(Ordering::Relaxed) { Err(StageError::Interrupted) } else { Ok(()) }
    }
}

/// What a stage may use to bring in files from outside.
pub struct Provision<'a> {
    /// The project's folder: relative paths in a pipeline start here.
    pub root: &'a Path,
    /// Where to say how far it is.
    pub progress: &'a dyn Progress,
    /// Set when the user wants to stop.
    pub cancelled: &'a AtomicBool,
}

/// A file outside the store that a stage reads, that is not there, and that it can fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    /// Where it belongs: absolute, or relative to the project's folder.
    pub path: PathBuf,
    /// Where it is fetched from.
    pub url: String,
}

/// Where tensors live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// The processor.
    Cpu,
    /// The NVIDIA GPU of this number.
    #[cfg(feature = "cuda")]
    Cuda(usize),
}

/// Does some work on a stage's device, whose type it is compiled for. What a device computes after a fault means nothing,
/// so a fault is what comes of the work then.
macro_rules! on_device {
    ($device:expr, |$on:ident| $work:expr) => {
        match $device {
            $crate::stage::Device::Cpu => {
                let $on = &$crate::tensor::Cpu::default();
                $work
            }
            #[cfg(feature = "cuda")]
            $crate::stage::Device::Cuda(number) => {
                let opened = $crate::tensor::Cuda::open(number).map_err($crate::stage::StageError::from)?;
                let $on = &opened;
                let outcome = $work;
                match $crate::tensor::Kernels::fault($on) {
                    Some(fault) => Err(fault.into()),
                    None => outcome,
                }
            }
        }
    };
}
pub(crate) use on_device;

/// Where a stage says how far it is; bars on a terminal, plain lines elsewhere.
pub trait Progress: Sync {
    /// Starts a bar of `total` units (rows, steps, epochs).
    fn begin(&self, total: u64, unit: &str);
    /// Sets the bar; `message` says what matters now (epoch, loss, AUC).
    fn at(&self, done: u64, message: &str);
    /// A line worth keeping (an epoch's result).
    fn note(&self, line: &str);
    /// A line the user must not miss.
    fn warn(&self, line: &str);
}

/// A file outside the store that a stage reads: its digest is part of the stage's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct External {
    /// What it is to the stage (`train`, `test`), a name for `plan` to print.
    pub role: String,
    /// Where it lies.
    pub path: PathBuf,
    /// Its content.
    pub digest: Digest,
}

/// The artifacts a stage reads, by the field that names them (`from`, `model`, `data`).
pub struct Inputs<'a>(pub Vec<(&'a str, &'a Artifact)>);

impl<'a> Inputs<'a> {
    /// The artifact behind a field.
    ///
    /// # Panics
    /// When the field is none of the stage's references: a mistake in this program, not in a pipeline.
    pub fn get(&self, field: &str) -> &'a Artifact {
        self.0.iter().find(|(name, _)| *name == field).expect("a field the stage declares as a reference").1
    }
}

/// What a finished stage says of itself, beside the files it wrote.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Outcome {
    /// Made from simulated data (the runner also inherits this from the inputs).
    pub simulated: bool,
    /// One line for people: `30000 train, 7500 valid, 7500 test rows`.
    pub summary: String,
}

/// Why a stage failed.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// The user stopped it.
    #[error("interrupted")]
    Interrupted,
    /// Something is wrong with what the stage read or was asked to do.
    #[error("{message}")]
    Failed {
        /// What is wrong, and where: lower case, no full stop.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
    /// A field of the pipeline leads to something that cannot be used.
    #[error("{message}")]
    Field {
        /// The stage's field.
        field: &'static str,
        /// What is wrong with what it leads to: lower case, no full stop.
        message: String,
        /// What to do about it.
        hint: String,
    },
    /// A file could not be read or written.
    #[error("{action} `{}`", path.display())]
    Io {
        /// `cannot read`, `cannot write`.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] crate::store::StoreError),
    /// A model's file is wrong.
    #[error(transparent)]
    Checkpoint(#[from] crate::model::CheckpointError),
    /// It failed in another process, which said so.
    #[error("{message}")]
    Told {
        /// What is wrong.
        message: String,
        /// What caused it.
        source: Option<Box<Cause>>,
        /// What to do about it.
        hint: Option<String>,
        /// The stage's field that is to blame.
        field: Option<String>,
    },
}

/// A cause of an error and its own, in words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Cause {
    message: String,
    source: Option<Box<Cause>>,
}

impl From<Fault> for StageError {
    fn from(Fault { message, hint }: Fault) -> Self {
        Self::Failed { message, hint }
    }
}

impl StageError {
    /// Files would have to be fetched, and the call forbids it.
    pub fn offline(lacking: &[Lacking]) -> Self {
        let files: Vec<String> =
            lacking.iter().map(|Lacking { path, url }| format!("`{}` (from {url})", path.display())).collect();
        let (is, it) = if files.len() == 1 { ("is", "it") } else { ("are", "them") };
        Self::failed(format!("{} {is} not there, and `--offline` forbids to fetch {it}", files.join(" and ")))
            .hint("run without `--offline`, or put the files there")
    }

    /// A failure in another process, in its words: what is wrong, and what caused it.
    pub fn told(words: Vec<String>, hint: Option<String>, field: Option<String>) -> Self {
        let mut words = words.into_iter();
        let message = words.next().unwrap_or_else(|| "it did not say why".to_owned());
        let source = words.rev().fold(None, |source, message| Some(Box::new(Cause { message, source })));
        Self::Told { message, source, hint, field }
    }

    /// A failure without a hint.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed { message: message.into(), hint: None }
    }

    /// Adds what to do about it.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        match self {
            Self::Failed { message, .. } => Self::Failed { message, hint: Some(hint.into()) },
            other => other,
        }
    }

    /// What to do about it, where the error itself knows.
    pub fn remedy(&self) -> Option<&str> {
        match self {
            Self::Failed { hint, .. } => hint.as_deref(),
            Self::Field { hint, .. } => Some(hint),
            Self::Told { hint, .. } => hint.as_deref(),
            _ => None,
        }
    }

    /// The stage's field that is to blame, if one is.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Field { field, .. } => Some(field),
            Self::Told { field, .. } => field.as_deref(),
            _ => None,
        }
    }

    /// What is wrong, and what caused it.
    pub fn chain(&self) -> Vec<String> {
        let first: &dyn std::error::Error = self;
        std::iter::successors(Some(first), |&error| error.source()).map(ToString::to_string).collect()
    }
}

/// What each stage kind implements on its parameters (`spec::Download`, …).
pub trait Execute {
    /// Raise it when the same parameters and inputs should give another artifact: part of the key.
    const REVISION: u32;

    /// The files outside the store that it reads, that are not there, and that [`Execute::provide`] would fetch.
    fn lacking(&self, root: &Path) -> Vec<Lacking> {
        let _ = root;
        Vec::new()
    }

    /// Fetches what is [`Execute::lacking`]. It comes before the stage's key is known, because the key depends on what the
    /// files hold.
    ///
    /// # Errors
    /// When a file cannot be had.
    fn provide(&self, provision: &Provision) -> Result<(), StageError> {
        let _ = provision;
        Ok(())
    }

    /// The files outside the store that this stage would read now.
    ///
    /// # Errors
    /// When one that must be there is not.
    fn externals(&self, root: &Path, digests: &FileDigests) -> Result<Vec<External>, StageError> {
        let _ = (root, digests);
        Ok(Vec::new())
    }

    /// Writes the artifact's files into `out`.
    ///
    /// # Errors
    /// Whatever stops it; the draft is then thrown away.
    fn run(&self, cx: &Context, inputs: &Inputs, out: &Draft) -> Result<Outcome, StageError>;
}
