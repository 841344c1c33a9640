//! What a cluster's events are called towards the user, and what can be done about them.

use std::path::Path;

use super::commands::Job;
use super::outcome::Died;

/// `1 job`, `3 jobs`.
pub(super) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// What a job waits for, if that is more than its turn or another job, and what lets it go where the user can.
pub(super) fn obstacle(job: &Job) -> Option<String> {
    let reason = job.reason.as_str();
    match reason {
        _ if !job.is_waiting() => None,
        "None" | "Dependency" | "Priority" | "Resources" | "BeginTime" | "Cleaning" | "" => None,
        "JobHeldUser" => Some(format!("{reason} (`scontrol release` lets them go)")),
        "PartitionTimeLimit" => Some(format!(
            "{reason} (they ask for more `resources.hours` than their partition allows, and will not start)"
        )),
        "BadConstraints" => {
            Some(format!("{reason} (no node has what they ask for by `resources`: they will not start)"))
        }
        "JobHeldAdmin" => Some(format!("{reason} (an administrator holds them)")),
        _ if reason.contains("requeued held") || matches!(&job.state[..], "REQUEUE_HOLD" | "SPECIAL_EXIT") => {
            Some(format!("{reason} (Slurm could not start them; `scontrol release` tries again)"))
        }
        _ => Some(reason.to_owned()),
    }
}

/// What became of a job that came to nothing, and what to do about it. `job` is what the queue says of it, `died` what it
/// left itself; `project` is the folder that every node must see.
pub(super) fn death(title: &str, job: Option<&Job>, died: Option<Died>, log: bool, project: &Path) -> (String, String) {
    const GOES_ON: &str = "the next run goes on from its checkpoint";
    const MORE_TIME: &str = "give it more `resources.hours`, or let it start again more often (`--requeue`); the next run \
                             goes on from its checkpoint";
    let after = match died {
        Some(Died { restarts: restarts @ 1.., .. }) => format!(", after {}", count(restarts as usize, "restart")),
        _ => String::new(),
    };
    let (what, hint) = match job.map(|job| job.state.as_str()) {
        Some("CANCELLED") => ("was cancelled".to_owned(), GOES_ON),
        Some("PREEMPTED") => ("had to go for one of a higher priority".to_owned(), GOES_ON),
        Some("TIMEOUT" | "DEADLINE") => ("ran out of time".to_owned(), MORE_TIME),
        Some("OUT_OF_MEMORY") => ("ran out of memory".to_owned(), "give it more `resources.mem_gb`"),
        Some("NODE_FAIL" | "BOOT_FAIL" | "LAUNCH_FAILED") => ("lost its node".to_owned(), GOES_ON),
        state => match (died, state) {
            (Some(Died { out_of_time: true, .. }), _) => ("ran out of time".to_owned(), MORE_TIME),
            (Some(Died { code: code @ 126..=127, .. }), _) => (
                format!("cannot run this program there (exit code {code})"),
                "its node must be of the same kind as this machine, and see the same folder",
            ),
            (Some(Died { code: code @ 129.., .. }), _) if code != 130 => (
                format!("was killed (signal {})", code - 128),
                "if it took too much memory, give it more `resources.mem_gb`; the next run goes on from its checkpoint",
            ),
            (Some(Died { code, .. }), _) => (format!("ended with exit code {code}"), GOES_ON),
            (None, Some(state)) if !log => {
                let node = job.map_or("its node", |job| job.node.as_str());
                let how = if job.is_some_and(Job::did_not_begin) { "could not begin" } else { "left no log" };
                let hint =
                    format!("is `{}` the same folder there, and may you write to it? {GOES_ON}", project.display());
                return (format!("its job {title} {how} on {node} ({state})"), hint);
            }
            (None, Some(state)) => (
                format!("ended ({state}) without saying what came of it"),
                "its log may say why; the next run goes on from its checkpoint",
            ),
            (None, None) => {
                return (
                    format!("Slurm no longer knows its job {title}"),
                    format!("somebody removed it, or Slurm lost its state; {GOES_ON}"),
                );
            }
        },
    };
    (format!("its job {title} {what}{after}"), hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(state: &str, reason: &str) -> Job {
        let (state, reason) = (state.to_owned(), reason.to_owned());
        Job { id: 12, task: 3, state, reason, node: "n1".into(), name: "train-0-0".into() }
    }

    #[test]
    fn what_a_job_waits_for_is_told_unless_it_is_its_turn() {
        assert_eq!(obstacle(&job("PENDING", "Priority")), None);
        assert_eq!(obstacle(&job("RUNNING", "JobHeldUser")), None);
        assert_eq!(obstacle(&job("PENDING", "QOSMaxCpuPerUserLimit")).unwrap(), "QOSMaxCpuPerUserLimit");
        assert!(obstacle(&job("PENDING", "JobHeldUser")).unwrap().contains("scontrol release"));
        assert!(obstacle(&job("PENDING", "launch failed requeued held")).unwrap().contains("could not start"));
        assert!(obstacle(&job("SPECIAL_EXIT", "JobHeldUser")).is_some());
    }

    #[test]
    fn every_death_has_its_cause() {
        let words = |state: Option<&str>, died: Option<(u32, u32, bool)>, log: bool| {
            let job = state.map(|state| job(state, "None"));
            let died = died.map(|(code, restarts, out_of_time)| Died { code, restarts, out_of_time });
            death("12_3", job.as_ref(), died, log, Path::new("/p")).0
        };
        assert_eq!(words(Some("TIMEOUT"), Some((130, 0, true)), true), "its job 12_3 ran out of time");
        assert_eq!(words(Some("FAILED"), Some((130, 3, true)), true), "its job 12_3 ran out of time, after 3 restarts");
        assert_eq!(
            words(Some("FAILED"), Some((137, 1, false)), true),
            "its job 12_3 was killed (signal 9), after 1 restart"
        );
        assert_eq!(
            words(None, Some((127, 0, false)), true),
            "its job 12_3 cannot run this program there (exit code 127)"
        );
        assert_eq!(words(Some("FAILED"), Some((2, 0, false)), true), "its job 12_3 ended with exit code 2");
        assert_eq!(words(Some("FAILED"), None, false), "its job 12_3 left no log on n1 (FAILED)");
        assert_eq!(words(Some("CANCELLED"), Some((130, 0, false)), true), "its job 12_3 was cancelled");
        assert_eq!(words(None, None, true), "Slurm no longer knows its job 12_3");
    }
}
