//! Slurm's own commands, and what they say. Nothing else speaks with Slurm.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// Why a command of Slurm did not do what it should.
#[derive(Debug, thiserror::Error)]
pub(super) enum SlurmError {
    /// There is no such command here.
    #[error("cannot run `{program}`: {source}")]
    Missing {
        /// Which.
        program: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// It refused; Slurm's own words.
    #[error("`{program}` refuses: {}", if said.is_empty() { "without a word" } else { said.as_str() })]
    Refused {
        /// Which.
        program: &'static str,
        /// What it printed.
        said: String,
    },
}

impl SlurmError {
    /// What to do about it.
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "`--on slurm` wants Slurm's commands on this machine: a login node has them",
            Self::Refused { .. } => {
                "`resources` in the pipeline says what jobs ask for; `sinfo` lists partitions, `squeue --me` your jobs"
            }
        }
    }
}

/// A job as the queue knows it: one task of an array.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    /// The number of its array's job.
    pub(super) id: u64,
    /// Its number in the array.
    pub(super) task: u32,
    /// Slurm's word for its state: `RUNNING`.
    pub(super) state: String,
    /// Why it waits.
    pub(super) reason: String,
    /// Where it runs.
    pub(super) node: String,
    /// Its name.
    pub(super) name: String,
}

impl Job {
    /// As users of Slurm name it: `123_4`.
    pub(super) fn title(&self) -> String {
        format!("{}_{}", self.id, self.task)
    }

    /// Whether it waits or runs, or may again. A state nobody knows is taken for such: whoever waits finds out.
    pub(super) fn is_alive(&self) -> bool {
        const DEAD: &[&str] = &[
            "BOOT_FAIL",
            "CANCELLED",
            "COMPLETED",
            "DEADLINE",
            "FAILED",
            "LAUNCH_FAILED",
            "NODE_FAIL",
            "OUT_OF_MEMORY",
            "PREEMPTED",
            "REVOKED",
            "TIMEOUT",
        ];
        !DEAD.contains(&self.state.as_str())
    }

    /// Whether it waits.
    pub(super) fn is_pending(&self) -> bool {
        self.state == "PENDING"
    }
}

/// Runs one of Slurm's commands and gives what it printed.
fn call<A: AsRef<OsStr>>(program: &'static str, arguments: impl IntoIterator<Item = A>) -> Result<String, SlurmError> {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C");
    // a user's filters and formats would leave jobs out
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SQUEUE_") {
            command.env_remove(name);
        }
    }
    let output = command.output().map_err(|source| SlurmError::Missing { program, source })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let said: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Err(SlurmError::Refused { program, said: said.join("; ") })
}

/// The most tasks that an array may have, or what Slurm allows unless told otherwise.
pub(super) fn largest_array() -> Result<u32, SlurmError> {
    const DEFAULT: u32 = 1001;
    let config = call("scontrol", ["show", "config"])?;
    let set = config.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        if name.trim() == "MaxArraySize" { value.trim().parse::<u32>().ok() } else { None }
    });
    // the size counts from 0, and 0 itself forbids arrays
    Ok(set.unwrap_or(DEFAULT).max(1))
}

/// Submits a script with these options and gives the job's number.
pub(super) fn submit(options: &[String], script: &Path, arguments: &[&OsStr]) -> Result<u64, SlurmError> {
    let mut all: Vec<&OsStr> = vec![OsStr::new("--parsable")];
    all.extend(options.iter().map(OsStr::new));
    all.push(script.as_os_str());
    all.extend(arguments);
    let printed = call("sbatch", all)?;
    // `123`, or `123;cluster`
    let id = printed.trim().split(';').next().and_then(|id| id.parse().ok());
    id.ok_or_else(|| SlurmError::Refused { program: "sbatch", said: format!("it names no job: {}", printed.trim()) })
}

/// Lets jobs go that were submitted to wait for it.
pub(super) fn release(ids: &[u64]) -> Result<(), SlurmError> {
    if ids.is_empty() {
        return Ok(());
    }
    let list: Vec<String> = ids.iter().map(u64::to_string).collect();
    call("scontrol", ["release", &list.join(",")]).map(drop)
}

/// Cancels jobs: all of them, or those that have not begun.
pub(super) fn cancel(ids: &[u64], only_pending: bool) -> Result<(), SlurmError> {
    if ids.is_empty() {
        return Ok(());
    }
    let mut arguments: Vec<String> = vec!["--quiet".to_owned()];
    if only_pending {
        arguments.push("--state=PENDING".to_owned());
    }
    arguments.extend(ids.iter().map(u64::to_string));
    match call("scancel", arguments) {
        // quiet of jobs that are gone already, and yet not content
        Err(SlurmError::Refused { said, .. }) if said.is_empty() => Ok(()),
        done => done.map(drop),
    }
}

/// This user's jobs whose name satisfies, those that ended lately included.
pub(super) fn jobs(named: impl Fn(&str) -> bool) -> Result<Vec<Job>, SlurmError> {
    let printed = call("squeue", ["--me", "--noheader", "--array", "--states=all", "--format=%F|%K|%T|%N|%j|%r"])?;
    Ok(printed.lines().filter_map(parse).filter(|job| named(&job.name)).collect())
}

/// One line of `squeue`. The reason comes last: it may be any text.
fn parse(line: &str) -> Option<Job> {
    let mut parts = line.splitn(6, '|').map(|part| part.trim().to_owned());
    let (id, task, state, node) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let (name, reason) = (parts.next()?, parts.next()?);
    Some(Job { id: id.parse().ok()?, task: task.parse().ok()?, state, node, name, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_queue_are_understood() {
        let job = parse("12|3|RUNNING|node-7|train-3f9a2c1d-4|None").unwrap();
        assert_eq!((job.title().as_str(), job.node.as_str(), job.is_alive()), ("12_3", "node-7", true));
        let waits =
            parse("12|0|PENDING||train-3f9a2c1d-4|Nodes required for job are DOWN, DRAINED | or reserved").unwrap();
        assert!(waits.is_pending() && waits.reason.ends_with("DRAINED | or reserved"));
        assert!(!parse("12|0|OUT_OF_MEMORY|n|x|None").unwrap().is_alive());
        assert_eq!(parse("12|N/A|RUNNING|n|somebody's own job|None"), None);
        assert_eq!(parse(""), None);
    }
}
