//! The remote that a call names.

use std::num::NonZeroU16;
use std::time::Duration;

use super::failure::Failure;
use super::{Exit, output};
use crate::remote::{Bounds, Remote, RemoteError, is_folder};
use crate::run::Share;
use crate::run::slurm::{Asked, AskedRemote};
use crate::store::{Digest, Manifest};

/// Which remote, and how patient one is with it.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct RemoteArg {
    /// A store that machines share: `s3://BUCKET/PREFIX`, `gs://..`, `az://..`, `file:///FOLDER`, with the credentials of
    /// the usual variables. An empty one is none.
    #[arg(long = "remote", value_name = "URL", env = "MTOREC_REMOTE", hide_env_values = true)]
    address: Option<String>,
    #[command(flatten)]
    patience: PatienceArg,
}

/// How patient one is with a remote.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct PatienceArg {
    /// How many seconds a remote may say nothing before it counts as down.
    #[arg(long = "remote-timeout", value_name = "SECONDS", env = "MTOREC_REMOTE_TIMEOUT", default_value = "30")]
    silence: NonZeroU16,
}

/// A remote that helps a run.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct RemoteArgs {
    #[command(flatten)]
    remote: RemoteArg,
    /// Fail when the remote does; otherwise that is told once, and the run goes on without it. With `--offline` only a
    /// folder is asked.
    #[arg(long)]
    remote_required: bool,
}

/// The remote of a run, if it has one.
pub(super) struct RunRemote {
    remote: Option<Remote>,
    required: bool,
}

impl RunRemote {
    /// What the runner is to know.
    pub(super) fn share(&self) -> Option<Share<'_>> {
        self.remote.as_ref().map(|remote| Share { remote, required: self.required })
    }
}

impl RemoteArg {
    /// One that was named otherwise.
    pub(super) fn of(address: &str, patience: PatienceArg) -> Self {
        Self { address: Some(address.to_owned()), patience }
    }

    /// The address, if there is one.
    fn address(&self) -> Option<&str> {
        self.address.as_deref().map(str::trim).filter(|address| !address.is_empty())
    }

    /// Whether `--offline` keeps it from being asked.
    fn is_forbidden(&self, offline: bool) -> bool {
        self.address().is_some_and(|address| offline && !is_folder(address))
    }

    /// Opens it, if there is one that may be asked.
    pub(super) fn open_for(&self, offline: bool) -> Result<Option<Remote>, Failure> {
        if self.is_forbidden(offline) {
            output::say("the remote is not asked: `--offline`");
            return Ok(None);
        }
        self.open()
    }

    /// Opens it, if there is one.
    fn open(&self) -> Result<Option<Remote>, Failure> {
        let bounds = Bounds::of_silence(Duration::from_secs(self.patience.silence.get().into()));
        Ok(self.address().map(|address| Remote::open(address, bounds)).transpose()?)
    }

    /// What it knows of artifacts, for whoever only looks; it is told once when it fails, and then knows none.
    pub(super) fn known<'a>(remote: Option<&'a Remote>) -> impl Fn(Digest) -> Option<Manifest> + 'a {
        move |key| match remote?.manifest(key, &()) {
            Ok(found) => found,
            Err(RemoteError::Failed { first: false, .. }) => None,
            Err(error) => {
                let hint = error.hint().map_or_else(String::new, |hint| format!(" ({hint})"));
                output::say(&format!("warning: {error}{hint}"));
                None
            }
        }
    }

    /// Opens it for a command that is about nothing else.
    pub(super) fn open_needed(&self) -> Result<Remote, Failure> {
        self.open()?.ok_or_else(|| {
            Failure::call("no remote is named").hint("`--remote s3://BUCKET/PREFIX`, or the variable `MTOREC_REMOTE`")
        })
    }
}

impl RemoteArgs {
    /// For jobs of a cluster, which open it themselves.
    pub(super) fn asked(&self) -> Option<AskedRemote> {
        let address = self.remote.address()?.to_owned();
        Some(AskedRemote { address, silence: self.remote.patience.silence, required: self.remote_required })
    }

    /// What a submission asked for.
    pub(super) fn of_submission(asked: &Asked) -> Self {
        let (address, silence, remote_required) = match asked.remote.clone() {
            Some(AskedRemote { address, silence, required }) => (Some(address), silence, required),
            None => (None, NonZeroU16::MIN, false),
        };
        Self { remote: RemoteArg { address, patience: PatienceArg { silence } }, remote_required }
    }

    /// Opens it, if there is one that may be asked.
    pub(super) fn open(&self, offline: bool) -> Result<RunRemote, Failure> {
        let unasked = self.remote.is_forbidden(offline);
        if self.remote_required && (unasked || self.remote.address().is_none()) {
            let why = if unasked { "`--offline` forbids to ask the remote" } else { "no remote is named" };
            return Err(Failure::call(format!("{why}, and `--remote-required` needs it"))
                .hint("leave one of the two out, or name a remote: `--remote s3://BUCKET/PREFIX`, `file:///FOLDER`"));
        }
        Ok(RunRemote { remote: self.remote.open_for(offline)?, required: self.remote_required })
    }
}

impl From<RemoteError> for Failure {
    fn from(error: RemoteError) -> Self {
        let (exit, hint) = match &error {
            RemoteError::Address(_) => (Exit::Wrong, error.hint()),
            RemoteError::Interrupted => (Exit::Interrupted, None),
            other => (Exit::Failed, other.hint()),
        };
        match error {
            RemoteError::Store(error) => error.into(),
            error => {
                let failure = Self::trouble(exit, error);
                match hint {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                }
            }
        }
    }
}
