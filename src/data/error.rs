//! What can be wrong with a log, and what to do about it.

use std::path::{Path, PathBuf};

use crate::store::StoreError;

/// Why a log could not be found, read, encoded or opened.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The user stopped it.
    #[error("interrupted")]
    Interrupted,
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
    Store(#[from] StoreError),
    /// No file of a data set is where it is looked for.
    #[error("{dataset} is not there: no {} in {}", list(files), place(folder))]
    NotThere {
        /// The data set, for people.
        dataset: String,
        /// The folder that was searched.
        folder: PathBuf,
        /// The names that were looked for.
        files: Vec<String>,
        /// Where to get them and where to put them.
        remedy: String,
    },
    /// Some files of a data set are there and others are not.
    #[error("{dataset} is incomplete: {} is in {}, {} is not", list(found), place(folder), list(missing))]
    Incomplete {
        /// The data set, for people.
        dataset: String,
        /// The folder that was searched.
        folder: PathBuf,
        /// The files that are there.
        found: Vec<String>,
        /// The names that were looked for and not found.
        missing: Vec<String>,
        /// Where to get them and where to put them.
        remedy: String,
    },
    /// A source file is not what it was when `Download` saw it.
    #[error("`{}` {what} since the Download stage saw it", path.display())]
    NotAsDownloaded {
        /// Which file.
        path: PathBuf,
        /// `changed` or `vanished`.
        what: &'static str,
    },
    /// A file without a single row.
    #[error("`{}` has no rows", path.display())]
    NoRows {
        /// Which file.
        path: PathBuf,
    },
    /// The header line is not the one expected.
    #[error("{}:1: {problem}", path.display())]
    Header {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// One row is wrong.
    #[error("{}:{line}: {}{problem}", path.display(), column_prefix(column))]
    Row {
        /// Which file.
        path: PathBuf,
        /// The line the row starts on, counted from 1.
        line: u64,
        /// The column, where one is to blame.
        column: Option<String>,
        /// What is wrong.
        problem: RowProblem,
    },
    /// One row more is wrong than is tolerated.
    #[error("{error} (`max_bad_rows` tolerates {tolerated} wrong rows, and this is one more)")]
    TooManyBadRows {
        /// What is wrong with it.
        error: Box<DataError>,
        /// How many are.
        tolerated: usize,
    },
    /// The stage's parameters ask for something that makes no sense for this log.
    #[error("{message}")]
    Request {
        /// What is asked and why it cannot be.
        message: String,
        /// What to do about it.
        remedy: String,
    },
    /// An encoded file breaks the format.
    #[error("`{}` is not a sound encoded log: {problem}", path.display())]
    Unsound {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}

/// What is wrong with one row of a delimited file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum RowProblem {
    #[error("{found} fields where {expected} are expected")]
    FieldCount { expected: usize, found: usize },
    #[error("no number")]
    NoNumber,
    #[error("no id")]
    NoId,
    #[error("{0} is not a number")]
    NotANumber(String),
    #[error("{0} is not a finite number")]
    NotFinite(String),
    #[error("{0} is negative, and ln(1 + x) is to be taken of it")]
    NegativeForLog(String),
    #[error("{0} is not an integer id")]
    NotAnId(String),
    #[error("{0} is negative, ids start at 0")]
    NegativeId(String),
    #[error("id {0} is too large for an id that indexes a table")]
    IdTooLarge(String),
    #[error("{0} is not a label, which is 0 or 1")]
    NotALabel(String),
    #[error("{found} is not a label, which is `{negative}` or `{positive}`")]
    NotAnOutcome { found: String, negative: &'static str, positive: &'static str },
    #[error("{0} is not a label, which is 0 (shown), 1 (clicked) or 2 (bought)")]
    NotAStep(String),
    #[error("conversion without click")]
    ConversionWithoutClick,
    #[error("{0} is no time: neither a number nor `2024-05-31` or `2024-05-31T23:59:07`")]
    NotATime(String),
    #[error("{0} is not UTF-8 text")]
    NotText(String),
}

impl RowProblem {
    fn hint(&self) -> &'static str {
        match self {
            Self::FieldCount { .. } => "a line was cut short, or a text holds the delimiter without quotes round it",
            Self::NoNumber | Self::NotFinite(_) => {
                "correct the file, or say what stands for missing numbers: `fill: 0.0` or `fill: Mean` in the Preprocess stage"
            }
            Self::NotANumber(_) => "correct the file; only numbers may stand in a numerical column",
            Self::NoId | Self::NotAnId(_) | Self::NegativeId(_) => {
                "ids are integers from 0; a log with other categories can be read as `Csv(..)`, by dictionary"
            }
            Self::IdTooLarge(_) => "read the log as `Csv(..)`, which numbers its categories by dictionary",
            Self::NotALabel(_) | Self::NotAnOutcome { .. } | Self::NotAStep(_) => {
                "correct the file; every task has one binary label"
            }
            Self::ConversionWithoutClick => "correct the file; a conversion always has click = 1 as well",
            Self::NegativeForLog(_) => {
                "correct the file, or give the column another transform: `Standardise` takes negative numbers"
            }
            Self::NotATime(_) => "correct the file; every row of a log with a time column has one",
            Self::NotText(_) => "save the file as UTF-8",
        }
    }
}

impl DataError {
    /// What to do about it, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Interrupted | Self::Io { .. } | Self::Store(_) => None,
            Self::NotThere { remedy, .. }
            | Self::Incomplete { remedy, .. }
            | Self::Header { remedy, .. }
            | Self::Request { remedy, .. } => Some(remedy.clone()),
            Self::NotAsDownloaded { .. } => {
                Some("run the pipeline again: the Download stage then takes the files as they are now".into())
            }
            Self::NoRows { .. } => Some("the download was cut short, or the wrong file lies there".into()),
            Self::Row { problem, .. } => Some(problem.hint().into()),
            Self::TooManyBadRows { error, .. } => error.hint(),
            Self::Unsound { .. } => Some(
                "remove the artifact, or run with `--force` on the stage that writes it, and it is made anew".into(),
            ),
        }
    }

    pub(super) fn read(path: &Path) -> impl Fn(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action: "cannot read", path: path.clone(), source }
    }

    pub(super) fn write(path: &Path) -> impl Fn(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action: "cannot write", path: path.clone(), source }
    }

    pub(super) fn unsound(path: &Path, problem: impl Into<String>) -> Self {
        Self::Unsound { path: path.to_path_buf(), problem: problem.into() }
    }

    pub(super) fn request(message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Request { message: message.into(), remedy: remedy.into() }
    }
}

/// A piece of a user's file as an error message shows it: in backticks, shortened, never raw bytes.
pub(super) fn quoted(bytes: &[u8]) -> String {
    const LONGEST: usize = 40;
    let text = String::from_utf8_lossy(bytes);
    let mut shown: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().count() > LONGEST {
        shown.push('…');
    }
    format!("`{shown}`")
}

/// `` `a`, `b` and `c` ``.
pub(super) fn list<T: AsRef<str>>(names: &[T]) -> String {
    let shown: Vec<String> = names.iter().map(|name| format!("`{}`", name.as_ref())).collect();
    match shown.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

/// A folder as a message names it; the empty path is the project's folder.
fn place(folder: &Path) -> String {
    if folder.as_os_str().is_empty() { "the project's folder".into() } else { format!("`{}`", folder.display()) }
}

fn column_prefix(column: &Option<String>) -> String {
    column.as_ref().map(|name| format!("column `{name}`: ")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_shorten_and_escape() {
        assert_eq!(quoted(b"abc"), "`abc`");
        assert_eq!(quoted(b"a\nb"), "`a\\nb`");
        assert_eq!(quoted(&[b'x'; 50]), format!("`{}…`", "x".repeat(40)));
    }

    #[test]
    fn lists_read_like_sentences() {
        assert_eq!(list::<&str>(&[]), "");
        assert_eq!(list(&["a"]), "`a`");
        assert_eq!(list(&["a", "b", "c"]), "`a`, `b` and `c`");
    }
}
