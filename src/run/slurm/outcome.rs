//! What a job leaves behind for those who wait for its stage.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::run::How;
use crate::stage::StageError;

/// What came of a job's stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Outcome {
    /// The stage ran.
    Ran {
        /// Why.
        reasons: Vec<String>,
        /// How long it took, in seconds.
        seconds: f64,
    },
    /// Its artifact was there.
    Found,
    /// Its artifact came from the remote.
    Pulled,
    /// It failed.
    Failed {
        /// What is wrong, and what caused it.
        causes: Vec<String>,
        /// What to do about it.
        hint: Option<String>,
        /// The field of the pipeline that is to blame.
        field: Option<String>,
    },
}

impl Outcome {
    /// Of a result within a job; an interruption leaves none, for the job may start again.
    pub(super) fn of(result: &Result<How, StageError>) -> Option<Self> {
        match result {
            Ok(How::Ran { reasons, took }) => Some(Self::Ran {
                reasons: reasons.iter().map(ToString::to_string).collect(),
                seconds: took.as_secs_f64(),
            }),
            Ok(How::Pulled) => Some(Self::Pulled),
            Ok(How::UpToDate | How::Shared) => Some(Self::Found),
            Err(StageError::Interrupted) => None,
            Err(error) => Some(Self::Failed {
                causes: error.chain(),
                hint: error.remedy().map(str::to_owned),
                field: error.field().map(str::to_owned),
            }),
        }
    }

    /// How a stage came to its artifact, or why it failed.
    pub(super) fn result(self) -> Result<How, StageError> {
        match self {
            Self::Ran { reasons, seconds } => Ok(How::Ran {
                reasons: reasons.into_iter().map(crate::plan::Reason::Told).collect(),
                took: Duration::try_from_secs_f64(seconds).unwrap_or_default(),
            }),
            Self::Found => Ok(How::UpToDate),
            Self::Pulled => Ok(How::Pulled),
            Self::Failed { causes, hint, field } => Err(StageError::told(causes, hint, field)),
        }
    }
}

/// How a job ended that came to nothing and does not start itself again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Died {
    /// The exit code of its stage's process; 128 and the number of the signal that killed it.
    pub(super) code: u32,
    /// How often it had started itself again.
    pub(super) restarts: u32,
    /// Whether its time ran out.
    pub(super) out_of_time: bool,
}

impl Died {
    /// What `job.sh` writes: `CODE RESTARTS OUT_OF_TIME`. A line without an end is still being written.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let parts: Vec<u32> = text.strip_suffix('\n')?.split(' ').map(str::parse).collect::<Result<_, _>>().ok()?;
        let [code, restarts, short] = parts[..] else { return None };
        Some(Self { code, restarts, out_of_time: short != 0 })
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::plan::Reason;

    #[test]
    fn what_came_of_a_job_is_told_whole() {
        let told = |result: Result<How, StageError>| Outcome::of(&result).map(Outcome::result);
        let ran = How::Ran { reasons: vec![Reason::NeverRun], took: Duration::from_millis(1500) };
        let Some(Ok(How::Ran { reasons, took })) = told(Ok(ran)) else { panic!("it ran") };
        assert_eq!((reasons[0].to_string().as_str(), took), ("never run", Duration::from_millis(1500)));
        assert_eq!(told(Ok(How::Shared)).unwrap().unwrap(), How::UpToDate);
        assert_eq!(told(Ok(How::Pulled)).unwrap().unwrap(), How::Pulled);
        assert!(told(Err(StageError::Interrupted)).is_none());
        let source = io::Error::other("no such file");
        let error = StageError::Io { action: "cannot read", path: "a".into(), source };
        let told = told(Err(error)).unwrap().unwrap_err();
        assert_eq!(told.chain(), ["cannot read `a`", "no such file"]);
    }

    #[test]
    fn a_death_is_read_once_it_is_written_whole() {
        assert_eq!(Died::parse("137 3 0\n"), Some(Died { code: 137, restarts: 3, out_of_time: false }));
        assert!(Died::parse("130 0 1\n").is_some_and(|died| died.out_of_time));
        assert_eq!([Died::parse("137 3 0"), Died::parse("137\n"), Died::parse("x 0 0\n")], [None; 3]);
    }
}
