//! Slurm's own commands, and what they say. Nothing else speaks with Slurm.

use std::ffi::OsStr;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a command may take that asks or tells Slurm something; a busy controller needs its time.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long submitting may take: `sbatch` itself tries for two minutes where Slurm holds too many jobs just now.
const SUBMITTING: Duration = Duration::from_secs(300);

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
    /// It came to no end.
    #[error("`{program}` has not answered within {} s", .limit.as_secs())]
    Silent {
        /// Which.
        program: &'static str,
        /// How long it was waited for.
        limit: Duration,
    },
}

/// What Slurm says when somebody, or everybody, has too many jobs.
const TOO_MANY: &[&str] =
    &["job submit limit", "MaxSubmit", "temporarily unable to accept job", "Resource temporarily unavailable"];

impl SlurmError {
    /// What to do about it.
    pub(super) fn hint(&self) -> &'static str {
        match self {
            Self::Missing { .. } => "`--on slurm` wants Slurm's commands on this machine: a login node has them",
            Self::Silent { .. } => "`scontrol ping` says whether Slurm is there; run again once it is",
            Self::Refused { said, .. } if TOO_MANY.iter().any(|words| said.contains(words)) => {
                "the cluster takes no more jobs just now: wait for others to end, or sweep over fewer values at a time; what \
                 is finished stays"
            }
            Self::Refused { said, .. } if said.contains("Unable to contact") => {
                "`scontrol ping` says whether Slurm is there; run again once it is"
            }
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

    /// Whether its node could not even begin it.
    pub(super) fn did_not_begin(&self) -> bool {
        !self.is_alive() && self.reason == "JobLaunchFailure"
    }

    /// Whether it is over and Slurm says why; of other ends, only the job itself can tell more.
    pub(super) fn says_why(&self) -> bool {
        self.did_not_begin() || !self.is_alive() && !matches!(&self.state[..], "COMPLETED" | "FAILED" | "REVOKED")
    }

    /// Whether it waits, to start or to start again.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(&self.state[..], "PENDING" | "REQUEUED" | "REQUEUE_HOLD" | "SPECIAL_EXIT" | "RESV_DEL_HOLD")
    }
}

/// Whether a variable of the environment would mislead Slurm's commands or, as jobs inherit it, a job: filters and formats of
/// the user, and what an outer job says of itself where this program runs within one.
fn misleads(variable: &str) -> bool {
    const OF_SLURM_ITSELF: &[&str] = &["SLURM_CLUSTERS", "SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_JWT"];
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| variable.starts_with(prefix));
    // `sbatch` would wait for the job's end; and where it submits must be where `squeue` looks
    starts(&["SQUEUE_", "SCANCEL_", "SBATCH_WAIT", "SBATCH_CLUSTERS"])
        || starts(&["SLURM_"]) && !OF_SLURM_ITSELF.contains(&variable)
}

/// Runs one of Slurm's commands and gives what it printed.
fn call<A: AsRef<OsStr>>(
    program: &'static str,
    arguments: impl IntoIterator<Item = A>,
    limit: Duration,
) -> Result<String, SlurmError> {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C");
    for (name, _) in std::env::vars_os() {
        if misleads(&name.to_string_lossy()) {
            command.env_remove(name);
        }
    }
    let cannot = |source| SlurmError::Missing { program, source };
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(cannot)?;
    let (printed, said) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(cannot)? {
            break status;
        }
        if start.elapsed() > limit {
            let _ = child.kill();
            let _ = child.wait();
            return Err(SlurmError::Silent { program, limit });
        }
        thread::sleep(Duration::from_millis(5));
    };
    let text = |collected: JoinHandle<Vec<u8>>| {
        collected.join().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    };
    if status.success() {
        return Ok(text(printed));
    }
    let said = text(said);
    let said: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Err(SlurmError::Refused { program, said: said.join("; ") })
}

/// Reads all that somebody prints, lest they wait for a reader.
fn collect(pipe: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // what could be read counts
        let _ = pipe.map(|mut pipe| pipe.read_to_end(&mut bytes));
        bytes
    })
}

/// The most tasks that an array may have, or what Slurm allows unless told otherwise.
pub(super) fn largest_array() -> Result<u32, SlurmError> {
    const DEFAULT: u32 = 1001;
    let config = call("scontrol", ["show", "config"], PATIENCE)?;
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
    let printed = call("sbatch", all, SUBMITTING)?;
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
    call("scontrol", ["release", &list.join(",")], PATIENCE).map(drop)
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
    match call("scancel", arguments, PATIENCE) {
        // quiet of jobs that are gone already, and yet not content
        Err(SlurmError::Refused { said, .. }) if said.is_empty() => Ok(()),
        done => done.map(drop),
    }
}

/// This user's jobs whose name satisfies, those that ended lately included.
pub(super) fn jobs(named: impl Fn(&str) -> bool) -> Result<Vec<Job>, SlurmError> {
    let asked = ["--me", "--noheader", "--array", "--states=all", "--format=%F|%K|%T|%N|%j|%r"];
    let printed = call("squeue", asked, PATIENCE)?;
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
        assert!(waits.is_waiting() && waits.reason.ends_with("DRAINED | or reserved"));
        assert!(!parse("12|0|OUT_OF_MEMORY|n|x|None").unwrap().is_alive());
        let held = parse("12|0|REQUEUE_HOLD||x|JobHeldAdmin").unwrap();
        assert!(held.is_waiting() && held.is_alive());
        // Slurm's states grow with its versions
        assert!(parse("12|0|STAGE_OUT|n|x|None").unwrap().is_alive());
        assert_eq!(parse("12|N/A|RUNNING|n|somebody's own job|None"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn an_outer_job_and_a_users_filters_are_kept_from_slurm() {
        let misleading = [
            "SLURM_RESTART_COUNT",
            "SLURM_CPUS_PER_TASK",
            "SLURM_JOB_ID",
            "SQUEUE_STATES",
            "SCANCEL_BATCH",
            "SBATCH_WAIT",
        ];
        assert!(misleading.iter().all(|name| misleads(name)));
        // which Slurm, and what the user wishes of jobs that mtorec says nothing of
        assert!(!["SLURM_CONF", "SLURM_CLUSTERS", "SBATCH_QOS", "PATH"].iter().any(|name| misleads(name)));
    }

    #[test]
    fn a_command_that_hangs_or_refuses_is_told() {
        let limit = Duration::from_millis(50);
        let silent = call("sleep", ["60"], limit).unwrap_err();
        assert_eq!(silent.to_string(), "`sleep` has not answered within 0 s");
        let refused = call("sh", ["-c", "echo no >&2; echo '' >&2; echo really >&2; exit 1"], PATIENCE).unwrap_err();
        assert_eq!(refused.to_string(), "`sh` refuses: no; really");
        let missing = call("no-such-command-of-slurm", ["x"], limit).unwrap_err();
        assert!(missing.to_string().starts_with("cannot run `no-such-command-of-slurm`: "), "{missing}");
        let full = "sbatch: error: AssocMaxSubmitJobLimit; sbatch: error: Batch job submission failed: Job violates \
                    accounting/QOS policy (job submit limit, user's size and/or time limits)";
        assert!(SlurmError::Refused { program: "sbatch", said: full.into() }.hint().contains("fewer values"));
    }
}
