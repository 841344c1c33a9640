//! Failures and the one place that shows them: what went wrong, its causes, what to do; never a panic or a backtrace.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::iter::successors;

use super::Exit;
use super::output::{say, stderr_colour};
use crate::plan::UnknownStage;
use crate::spec::{Look, Places, Problems};
use crate::stage::StageError;
use crate::store::StoreError;

/// Why a command ends early.
pub(super) enum Failure {
    /// The pipeline file or a `--set` is wrong.
    Problems(Problems),
    /// Anything else.
    Trouble {
        /// The exit code.
        exit: Exit,
        /// What happened.
        error: Box<dyn Error + Send + Sync>,
        /// What to do about it.
        hint: Option<String>,
    },
}

impl Failure {
    pub(super) fn trouble(exit: Exit, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Trouble { exit, error: error.into(), hint: None }
    }

    /// The call is wrong.
    pub(super) fn call(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::trouble(Exit::Wrong, error)
    }

    /// Adds what to do about it.
    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        match self {
            Self::Trouble { exit, error, .. } => Self::Trouble { exit, error, hint: Some(hint.into()) },
            problems => problems,
        }
    }

    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Problems(_) => Exit::Wrong,
            Self::Trouble { exit, .. } => *exit,
        }
    }

    pub(super) fn print(&self) {
        match self {
            Self::Problems(problems) => say(problems.render(Look::of(&std::io::stderr())).trim_end()),
            Self::Trouble { error, hint, .. } => print_error("", error.as_ref(), hint.as_deref()),
        }
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Problems(problems)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        match error {
            newer @ StoreError::Newer { .. } => {
                Self::call(newer).hint("update mtorec, or move that folder away to start a new store")
            }
            other => Self::trouble(Exit::Failed, other),
        }
    }
}

impl From<UnknownStage> for Failure {
    fn from(error: UnknownStage) -> Self {
        let hint = error.hint();
        Self::call(error).hint(hint)
    }
}

/// Shows the error of a stage, and the field of the pipeline that is to blame, if one is.
pub(super) fn print_stage_error(stage: &str, error: &StageError, places: &Places) {
    let at = error.field().map(|field| places.of(&["stages", stage, field]));
    show(&format!("stage `{stage}`: "), error, at, error.remedy());
}

/// Shows an error with its causes; without a hint of its own, with the one that its causes suggest.
pub(super) fn print_error(place: &str, error: &(dyn Error + 'static), hint: Option<&str>) {
    show(place, error, None, hint);
}

fn show(place: &str, error: &(dyn Error + 'static), at: Option<String>, hint: Option<&str>) {
    let colour = stderr_colour();
    let label = |text: &str, code: &str| if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
    let mut lines = vec![format!("{}: {place}{error}", label("error", "1;31"))];
    lines.extend(causes(error).skip(1).map(|cause| format!("  {}: {cause}", label("caused by", "31"))));
    lines.extend(at.map(|at| format!("  {}: {at}", label("at", "36"))));
    let known = hint.map(str::to_owned).or_else(|| causes(error).find_map(system_hint));
    lines.extend(known.map(|hint| format!("  {}: {hint}", label("hint", "36"))));
    say(&lines.join("\n"));
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    successors(Some(error), |&error| error.source())
}

/// What to do about an error of the system, where that is always the same.
fn system_hint(error: &(dyn Error + 'static)) -> Option<String> {
    let hint = match error.downcast_ref::<io::Error>()?.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
            "the disk is full: make room and run again; finished stages and checkpoints are kept"
        }
        ErrorKind::PermissionDenied => "see who owns it and who may write there (`ls -l`)",
        ErrorKind::ReadOnlyFilesystem => "this file system may only be read; use a project folder elsewhere (`--root`)",
        _ => return None,
    };
    Some(hint.to_owned())
}

/// A panic is a mistake in this program: it says so in one line and ends with 1, without a backtrace.
pub(super) fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        let payload = panic.payload();
        let message =
            payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(|s| &**s));
        let place = panic.location().map_or_else(String::new, |at| format!(" at {}:{}", at.file(), at.line()));
        say(&format!(
            "error: a mistake in mtorec {}{place}: {}; please report this line and what you ran",
            env!("CARGO_PKG_VERSION"),
            message.unwrap_or("no message").replace('\n', " "),
        ));
        std::process::exit(Exit::Failed as i32);
    }));
}
