//! What a stage asks of the machine that it runs on, where it runs on one of a cluster.

use serde::{Deserialize, Serialize};

/// What a stage asks of a cluster. What it does not say the pipeline's `resources` do, and then the cluster's own defaults.
/// No part of a stage's key: results do not depend on where they are computed.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Resources {
    /// Cores, which the stage computes on.
    pub cpus: Option<usize>,
    /// Memory in gigabytes (2³⁰ bytes).
    pub mem_gb: Option<f64>,
    /// GPUs; without a number one where the call asks for `--device cuda` and the stage computes on it.
    pub gpus: Option<usize>,
    /// The longest time it may take. A training that needs longer is stopped in time and goes on from its last epoch.
    pub hours: Option<f64>,
    /// The cluster's partition (a queue for nodes of one sort).
    pub partition: Option<String>,
    /// The account that pays.
    pub account: Option<String>,
    /// Further options of `sbatch`, as in `["--qos=long", "--constraint=avx512"]`; in addition to the pipeline's.
    pub extra: Vec<String>,
}

impl Resources {
    /// These, and where they say nothing, the others.
    pub fn or(&self, others: &Self) -> Self {
        Self {
            cpus: self.cpus.or(others.cpus),
            mem_gb: self.mem_gb.or(others.mem_gb),
            gpus: self.gpus.or(others.gpus),
            hours: self.hours.or(others.hours),
            partition: self.partition.clone().or_else(|| others.partition.clone()),
            account: self.account.clone().or_else(|| others.account.clone()),
            // the last of two that contradict each other counts
            extra: others.extra.iter().chain(&self.extra).cloned().collect(),
        }
    }

    /// Everything wrong with them that ranges do not say: the field, what is wrong, and the remedy.
    pub(super) fn problems(&self) -> Vec<(String, String, &'static str)> {
        let mut problems = Vec::new();
        for (field, value) in [("partition", &self.partition), ("account", &self.account)] {
            let Some(value) = value else { continue };
            if value.is_empty()
                || value.starts_with('-')
                || value.contains(|c: char| c.is_whitespace() || c.is_control())
            {
                let what = format!("{value:?} is no name of a cluster's {field}");
                problems.push((field.to_owned(), what, "a name without spaces, as `sinfo` and `sacctmgr` print it"));
            }
        }
        for (at, option) in self.extra.iter().enumerate() {
            let field = format!("extra.{at}");
            let name = option.split(['=', ' ']).next().unwrap_or_default();
            if !option.starts_with('-') || option.contains(|c: char| c.is_control()) {
                let what = format!("{option:?} is no option of `sbatch`");
                problems.push((field, what, "one text an option, as in `extra: [\"--qos=long\"]`"));
            } else if let Some(known) = OURS.iter().find(|known| is_same(known, name)) {
                let what = format!("`{known}` is what mtorec itself says to `sbatch`");
                problems.push((field, what, "leave it out"));
            }
        }
        problems
    }
}

/// Whether an option is this known one; a short one's value may stand right behind it.
fn is_same(known: &str, name: &str) -> bool {
    known == name || known.len() == 2 && !name.starts_with("--") && name.starts_with(known)
}

/// Options of `sbatch` on which the right order of jobs depends, or that have a field of their own here.
const OURS: &[&str] = &[
    "--test-only",
    "--help",
    "-h",
    "--usage",
    "--version",
    "-V",
    "--array",
    "-a",
    "--clusters",
    "-M",
    "--dependency",
    "-d",
    "--hold",
    "-H",
    "--job-name",
    "-J",
    "--output",
    "-o",
    "--error",
    "-e",
    "--wrap",
    "--wait",
    "-W",
    "--parsable",
    "--chdir",
    "-D",
    "--signal",
    "--no-requeue",
    "--requeue",
    "--kill-on-invalid-dep",
    "--cpus-per-task",
    "-c",
    "--mem",
    "--time",
    "-t",
    "--partition",
    "-p",
    "--account",
    "-A",
    "--ntasks",
    "-n",
    "--nodes",
    "-N",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_stage_does_not_say_the_pipeline_does() {
        let own = Resources { cpus: Some(2), extra: vec!["--qos=long".into()], ..Resources::default() };
        let pipeline = Resources {
            cpus: Some(8),
            hours: Some(1.5),
            partition: Some("cpu".into()),
            extra: vec!["--qos=short".into()],
            ..Resources::default()
        };
        let both = own.or(&pipeline);
        assert_eq!((both.cpus, both.hours, both.partition.as_deref()), (Some(2), Some(1.5), Some("cpu")));
        assert_eq!(both.extra, ["--qos=short", "--qos=long"], "sbatch heeds the last");
    }

    #[test]
    fn what_would_break_the_order_of_jobs_or_is_no_option_is_wrong() {
        let fields = |resources: Resources| -> Vec<String> {
            resources.problems().into_iter().map(|(field, ..)| field).collect()
        };
        let extra = |options: &[&str]| Resources {
            extra: options.iter().map(|option| (*option).to_owned()).collect(),
            ..Resources::default()
        };
        assert!(fields(extra(&["--qos=long", "-C", "--constraint=a&b", "--exclude=n[1-3]"])).is_empty());
        assert_eq!(fields(extra(&["qos=long", "--dependency=afterok:1", "-H", "-t60", "-M", "--x\n"])).len(), 6);
        let named = |name: &str| Resources { partition: Some(name.into()), ..Resources::default() };
        assert!(fields(named("gpu_long-2,cpu")).is_empty());
        for name in ["", "a b", "-p", "a\nb"] {
            assert_eq!(fields(named(name)), ["partition"], "{name:?}");
        }
    }
}
