//! Brings a graph of stages up to date, wherever an [`Executor`] runs them.

use std::sync::atomic::{AtomicBool, Ordering};

use super::maker::{Made, Maker};
use super::sharing::Sharing;
use super::{Console, Report, Share};
use crate::plan::{Graph, Record, Site};
use crate::stage::StageError;
use crate::store::{Store, StoreError};

/// What to run.
pub struct Call<'a> {
    /// Where.
    pub site: Site<'a>,
    /// After a failure, whether what does not depend on it still runs; otherwise no further stage starts.
    pub keep_going: bool,
    /// Whether the call forces a stage to run, stage by stage.
    pub forced: Vec<bool>,
    /// Whether a stage takes part, stage by stage; all that it reads must take part too.
    pub selected: Vec<bool>,
    /// Where artifacts come from and go to, beside the store.
    pub remote: Option<Share<'a>>,
    /// Set from outside when the user wants to stop.
    pub cancelled: &'a AtomicBool,
    /// Told what comes of the stages.
    pub observer: &'a dyn Observer,
}

/// Told what comes of stages as soon as it is known, on whichever thread that happens.
pub trait Observer: Sync {
    /// A stage has its artifact.
    fn made(&self, stage: &str, made: &Made);
    /// A stage failed; what reads it will not be made.
    fn failed(&self, stage: &str);
}

/// Nobody.
impl Observer for () {
    fn made(&self, _stage: &str, _made: &Made) {}
    fn failed(&self, _stage: &str) {}
}

/// What runs stages somewhere: on this machine, or on those of a cluster. Everybody else asks for stages to be made, and
/// does not know where that happens.
pub trait Executor {
    /// Brings the stages that take part up to date, in an order in which every stage comes after those that it reads.
    ///
    /// A stage that fails stops the stages that read it, directly or not. The others still run if the call is to keep
    /// going; if not, those that are running end as they do, and no further stage starts: neither does one after a
    /// cancellation. Gives, stage by stage, why those that were begun came to no artifact.
    ///
    /// # Errors
    /// When nothing could be begun at all; what happens to stages is no error here.
    fn run(&self, maker: &Maker, call: &Call) -> Result<Vec<Option<Stopped>>, ExecutorError>;
}

/// Why a stage that was begun came to no artifact.
#[derive(Debug)]
pub enum Stopped {
    /// It failed, or the user stopped it.
    Failed(StageError),
    /// It is made elsewhere, and nobody waits here until it is.
    Away {
        /// What makes it.
        by: String,
    },
}

/// Why no stage could be begun.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// The store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The user stopped it before any stage was begun.
    #[error("interrupted")]
    Interrupted,
    /// Whoever should run the stages does not.
    #[error("{message}")]
    Refused {
        /// Who, what they were asked, and what they said.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
}

/// Brings the selected stages up to date and writes the pipeline's record.
///
/// # Errors
/// When nothing can be run at all; what happens to stages is in the report.
pub fn execute(
    graph: &Graph,
    store: &Store,
    record: &Record,
    executor: &dyn Executor,
    call: &Call,
    console: &Console,
) -> Result<Report, ExecutorError> {
    store.clear_leftovers()?;
    let sharing = Sharing::new(call, console);
    let maker = Maker::new(graph, store, record, call, console, &sharing);
    let mut stopped = sharing.during(|| executor.run(&maker, call))?;
    let cancelled = call.cancelled.load(Ordering::Relaxed);
    let made = maker.into_made();
    for (stage, error) in sharing.into_failures() {
        stopped[stage] = Some(Stopped::Failed(error));
    }
    let mut report = Report::new(graph, made, stopped, &call.selected, cancelled);
    let new = report.record(record);
    if new != *record {
        report.unrecorded = new.save(store).err();
    }
    Ok(report)
}
