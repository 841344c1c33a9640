//! Why a file could not be fetched, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Address, Sha256};

/// Why a file could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The user stopped it; what has come is kept.
    #[error("interrupted")]
    Interrupted,
    /// The server will not give it.
    #[error("{address} answers {status}")]
    Refused {
        /// Where it was asked for; after redirects, if there were any.
        address: Address,
        /// `404 Not Found`.
        status: String,
    },
    /// A redirect leads nowhere that can be followed.
    #[error("{address} leads to a place that is not fetched: {why}")]
    Astray {
        /// The address that redirects.
        address: Address,
        /// What is wrong with where it leads.
        why: String,
    },
    /// It failed again and again.
    #[error("cannot fetch {address}: {what}")]
    GaveUp {
        /// Where from.
        address: Address,
        /// What went wrong last.
        what: String,
        /// Bytes that have come and are kept.
        kept: u64,
    },
    /// The connection can never come about.
    #[error("cannot fetch {address}: {what}")]
    Connection {
        /// Where from.
        address: Address,
        /// What is wrong.
        what: String,
    },
    /// A proxy's variable makes no sense.
    #[error("the variable `{variable}` names no proxy that can be used")]
    Proxy {
        /// The variable; its value may hold a password.
        variable: &'static str,
    },
    /// The file is another than it should be. It has been removed.
    #[error("{address} gave another file than it should: expected SHA-256 {expected}, got {got}")]
    Digest {
        /// Where from.
        address: Address,
        /// What it should hold.
        expected: Sha256,
        /// What it holds.
        got: Sha256,
    },
    /// A file could not be read or written.
    #[error("{action} `{}`", path.display())]
    Io {
        /// `cannot read`, `cannot write`.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl FetchError {
    /// What to do about it, where there is something to say.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Interrupted | Self::Io { .. } => None,
            Self::Refused { status, .. } if status.starts_with("401") || status.starts_with("403") => Some(
                "it is not for everybody: fetch it with your account and put it into the data set's folder".to_owned(),
            ),
            Self::Refused { .. } | Self::Astray { .. } => {
                Some("correct `url:`, or fetch the file by hand and put it into the data set's folder".to_owned())
            }
            Self::GaveUp { kept: 0, .. } => Some(
                "see whether the network is up and whether `http_proxy`, `https_proxy` and `no_proxy` are right; then \
                 run again"
                    .to_owned(),
            ),
            Self::GaveUp { kept, .. } => {
                Some(format!("the {kept} bytes that have come are kept: run again to go on from there"))
            }
            Self::Connection { .. } => {
                Some("correct `url:`, or the proxy's variables `http_proxy`, `https_proxy` and `no_proxy`".to_owned())
            }
            Self::Proxy { .. } => Some("it takes an address like `http://proxy.example.org:3128`".to_owned()),
            Self::Digest { .. } => Some(
                "the file was removed; if its publisher changed it and you trust the new one, correct `sha256:`"
                    .to_owned(),
            ),
        }
    }

    pub(super) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action: "cannot read", path, source }
    }

    pub(super) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { action: "cannot write", path, source }
    }
}

/// Why one exchange did not bring the whole file.
#[derive(Debug)]
pub(super) enum Broken {
    /// It may go better next time, at the earliest after what the server asks for.
    Again {
        /// What went wrong.
        what: String,
        /// How long the server asks to be left alone.
        after: Option<Duration>,
    },
    /// As `Again`, but what is there belongs to another file.
    Afresh(String),
    /// It will not.
    Never(FetchError),
}

impl Broken {
    pub(super) fn again(what: impl Into<String>) -> Self {
        Self::Again { what: what.into(), after: None }
    }
}

impl From<FetchError> for Broken {
    fn from(error: FetchError) -> Self {
        Self::Never(error)
    }
}
