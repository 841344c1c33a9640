//! Golden metrics: numbers that were blessed once, and what later runs are held to.
//!
//! A metric passes when it is within the tolerance of the blessed number. Any larger difference fails, a better number
//! too: it means that something changed which nobody blessed (unless the pipeline says that only worse ones fail). The
//! verdict says which way it went.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::StageEvaluation;
use crate::metric::{Better, Metric};
use crate::spec::{Fails, Golden};
use crate::store::write_atomically;

/// A golden file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenMetrics {
    /// The pipeline's name.
    pub pipeline: String,
    /// Whether the numbers come from simulated data.
    pub simulated: bool,
    /// The numbers of each `Evaluate` stage.
    pub stages: IndexMap<String, Vec<GoldenValue>>,
}

/// One blessed number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoldenValue {
    /// The metric's name: `Auc`.
    pub metric: String,
    /// The task's name, or `mean`.
    pub task: String,
    /// The number; `None` where it was undefined.
    pub value: Option<f64>,
}

/// Why a golden file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GoldenError {
    /// It is not there.
    #[error("there is no golden file `{}`", .0.display())]
    Missing(PathBuf),
    /// It is no golden file.
    #[error("`{}` is no golden file", path.display())]
    Format {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and where.
        source: Box<ron::error::SpannedError>,
    },
    /// The system refused.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// `read`, `write`.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// How a metric stands to its golden number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Within the tolerance.
    Ok,
    /// Worse by more than the tolerance.
    Worse,
    /// Better by more than the tolerance.
    Better,
    /// Off by more than the tolerance, but no more than that nearer to the metric's best value or further from it: it lies
    /// on the other side.
    Moved,
    /// Off by more than the tolerance, in a metric this version does not know the direction of, or no number; or defined where it was
    /// undefined, or the other way round.
    Different,
    /// Blessed, but no longer measured.
    Gone,
    /// Measured, but never blessed.
    New,
}

/// One row of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Line {
    /// The `Evaluate` stage.
    pub stage: String,
    /// The metric's name.
    pub metric: String,
    /// The task's name, or `mean`.
    pub task: String,
    /// The blessed number.
    pub expected: Option<f64>,
    /// This run's number.
    pub got: Option<f64>,
    /// The largest absolute difference that passes.
    pub tolerance: f64,
    /// How they stand to each other.
    pub verdict: Verdict,
    /// Whether that is a regression.
    pub fails: bool,
}

/// A run against its golden file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// Whether the golden numbers come from simulated data.
    pub expected_simulated: bool,
    /// Whether this run's do. Simulated and real numbers are never the same thing: unequal marks fail.
    pub got_simulated: bool,
    /// The metrics.
    pub lines: Vec<Line>,
}

impl GoldenMetrics {
    /// What a run's metrics would bless.
    pub fn of_run(pipeline: &str, evaluations: &[StageEvaluation]) -> Self {
        let value = |value: &crate::metric::MetricValue| GoldenValue {
            metric: value.metric.clone(),
            task: value.task.clone(),
            value: value.value,
        };
        let stages =
            evaluations.iter().map(|found| (found.stage.clone(), found.evaluation.values.iter().map(value).collect()));
        Self {
            pipeline: pipeline.to_owned(),
            simulated: evaluations.iter().any(|found| found.evaluation.simulated),
            stages: stages.collect(),
        }
    }

    /// Reads a golden file.
    ///
    /// # Errors
    /// When it is not there, cannot be read, or is none.
    pub fn read(path: &Path) -> Result<Self, GoldenError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(GoldenError::Missing(path.to_path_buf()));
            }
            Err(source) => return Err(GoldenError::Io { action: "read", path: path.to_path_buf(), source }),
        };
        ron::from_str(&text)
            .map_err(|source| GoldenError::Format { path: path.to_path_buf(), source: Box::new(source) })
    }

    /// Writes a golden file, whole or not at all.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn write(&self, path: &Path) -> Result<(), GoldenError> {
        let config = ron::ser::PrettyConfig::new().depth_limit(3).struct_names(true);
        let written = ron::ser::to_string_pretty(self, config).map_err(io::Error::other).and_then(|body| {
            let text = format!("// Written by `mtorec golden bless`, held by `mtorec golden check`.\n{body}\n");
            write_atomically(path, text.as_bytes())
        });
        written.map_err(|source| GoldenError::Io { action: "write", path: path.to_path_buf(), source })
    }

    /// Holds a run's metrics to these, as the pipeline says.
    pub fn hold(&self, got: &Self, golden: &Golden) -> Comparison {
        self.compare_by(got, |metric, expected| {
            let held = golden.metrics.iter().find(|held| held.metric.name() == metric);
            let Some(held) = held else { return (golden.tolerance, Fails::Any) };
            let relative = held.relative.map(|share| share * expected.unwrap_or(0.0).abs());
            let tolerance = held.absolute.into_iter().chain(relative).reduce(f64::max);
            (tolerance.unwrap_or(golden.tolerance), held.fails)
        })
    }

    /// Puts a run's metrics beside these; any difference counts.
    pub fn compare(&self, got: &Self) -> Comparison {
        self.compare_by(got, |_, _| (0.0, Fails::Any))
    }

    fn compare_by(&self, got: &Self, rule: impl Fn(&str, Option<f64>) -> (f64, Fails)) -> Comparison {
        let mut lines = Vec::new();
        for (stage, expected) in &self.stages {
            for golden in expected {
                let found = got.stages.get(stage).and_then(|values| values.iter().find(|value| value.same_as(golden)));
                let rule = rule(&golden.metric, golden.value);
                let verdict = found.map_or(Verdict::Gone, |found| judge(golden, found.value, rule.0));
                lines.push(golden.line(stage, golden.value, found.and_then(|found| found.value), rule, verdict));
            }
        }
        for (stage, values) in &got.stages {
            for value in values {
                let blessed = self.stages.get(stage).is_some_and(|all| all.iter().any(|golden| golden.same_as(value)));
                if !blessed {
                    lines.push(value.line(stage, None, value.value, rule(&value.metric, None), Verdict::New));
                }
            }
        }
        Comparison { expected_simulated: self.simulated, got_simulated: got.simulated, lines }
    }
}

impl GoldenValue {
    fn same_as(&self, other: &Self) -> bool {
        self.metric == other.metric && self.task == other.task
    }

    fn line(
        &self,
        stage: &str,
        expected: Option<f64>,
        got: Option<f64>,
        (tolerance, fails): (f64, Fails),
        verdict: Verdict,
    ) -> Line {
        let (metric, task) = (self.metric.clone(), self.task.clone());
        let fails = match verdict {
            Verdict::Ok => false,
            Verdict::Better | Verdict::Moved => fails == Fails::Any,
            _ => true,
        };
        Line { stage: stage.to_owned(), metric, task, expected, got, tolerance, verdict, fails }
    }
}

impl Comparison {
    /// Whether every metric holds.
    pub fn passes(&self) -> bool {
        self.expected_simulated == self.got_simulated && self.lines.iter().all(|line| !line.fails)
    }
}

fn judge(golden: &GoldenValue, got: Option<f64>, tolerance: f64) -> Verdict {
    let (expected, got) = match (golden.value, got) {
        (None, None) => return Verdict::Ok,
        (Some(expected), Some(got)) => (expected, got),
        _ => return Verdict::Different,
    };
    if (got - expected).abs() <= tolerance {
        return Verdict::Ok;
    }
    if got.is_nan() || expected.is_nan() {
        return Verdict::Different;
    }
    let Some(better) = better(&golden.metric) else { return Verdict::Different };
    let gain = better.merit(got) - better.merit(expected);
    match better {
        Better::Near(_) if gain.abs() <= tolerance => Verdict::Moved,
        _ if gain > 0.0 => Verdict::Better,
        _ => Verdict::Worse,
    }
}

/// The direction of a metric; `None` for one that this version does not know.
fn better(name: &str) -> Option<Better> {
    Metric::ALL.iter().find(|metric| metric.name() == name).map(|metric| metric.better())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Held;

    fn metrics(auc: f64, loss: f64) -> GoldenMetrics {
        let value = |metric: &str, task: &str, value| GoldenValue { metric: metric.into(), task: task.into(), value };
        let values = vec![
            value("Auc", "click", Some(auc)),
            value("LogLoss", "click", Some(loss)),
            value("Auc", "conversion", None),
        ];
        GoldenMetrics { pipeline: "p".into(), simulated: true, stages: IndexMap::from([("evaluate".into(), values)]) }
    }

    fn within(tolerance: f64) -> Golden {
        Golden { file: "g.ron".to_owned(), tolerance, metrics: Vec::new() }
    }

    fn verdicts(comparison: &Comparison) -> Vec<Verdict> {
        comparison.lines.iter().map(|line| line.verdict).collect()
    }

    #[test]
    fn differences_beyond_the_tolerance_fail_both_ways() {
        let golden = metrics(0.7, 0.2);
        let near = golden.hold(&metrics(0.7019, 0.1981), &within(0.002));
        assert!(near.passes());
        let off = golden.hold(&metrics(0.69, 0.19), &within(0.002));
        assert_eq!(verdicts(&off), [Verdict::Worse, Verdict::Better, Verdict::Ok]);
        assert!(!off.passes());
        let other_way = golden.hold(&metrics(0.71, f64::NAN), &within(0.002));
        assert_eq!(verdicts(&other_way), [Verdict::Better, Verdict::Different, Verdict::Ok]);
    }

    #[test]
    fn a_metric_can_be_held_its_own_way() {
        let held = |metric, absolute, relative, fails| Golden {
            metrics: vec![Held { metric, absolute, relative, fails }],
            ..within(0.002)
        };
        let golden = metrics(0.7, 0.2);
        let passes = |auc, loss, held: &Golden| golden.hold(&metrics(auc, loss), held).passes();
        let share = held(Metric::LogLoss, None, Some(0.05), Fails::Any);
        assert!(passes(0.7, 0.2099, &share) && !passes(0.7, 0.2101, &share) && !passes(0.703, 0.2, &share));
        let either = held(Metric::LogLoss, Some(0.02), Some(0.05), Fails::Any);
        assert!(passes(0.7, 0.2199, &either) && !passes(0.7, 0.2201, &either));
        let worse = held(Metric::Auc, None, None, Fails::Worse);
        assert!(passes(0.8, 0.2, &worse) && passes(0.699, 0.2, &worse) && !passes(0.69, 0.2, &worse));
        let better = golden.hold(&metrics(0.8, 0.2), &worse);
        assert_eq!(verdicts(&better)[0], Verdict::Better);
        assert_eq!((better.lines[0].tolerance, better.lines[0].fails), (0.002, false));
    }

    #[test]
    fn a_ratio_is_judged_by_its_distance_from_1() {
        let ratio = |value| {
            let value = GoldenValue { metric: "CalibrationRatio".into(), task: "click".into(), value: Some(value) };
            GoldenMetrics {
                pipeline: "p".into(),
                simulated: true,
                stages: IndexMap::from([("evaluate".into(), vec![value])]),
            }
        };
        let any = within(0.02);
        let held = Held { metric: Metric::CalibrationRatio, absolute: None, relative: None, fails: Fails::Worse };
        let worse = Golden { metrics: vec![held], ..within(0.02) };
        for (got, verdict, passes, passes_unless_worse) in [
            (0.91, Verdict::Ok, true, true),
            (0.97, Verdict::Better, false, true),
            (1.05, Verdict::Better, false, true),
            (1.11, Verdict::Moved, false, true),
            (1.2, Verdict::Worse, false, false),
            (0.8, Verdict::Worse, false, false),
        ] {
            let held = ratio(0.9).hold(&ratio(got), &any);
            assert_eq!((verdicts(&held), held.passes()), (vec![verdict], passes), "{got}");
            assert_eq!(ratio(0.9).hold(&ratio(got), &worse).passes(), passes_unless_worse, "{got}");
        }
        assert_eq!(verdicts(&ratio(0.75).compare(&ratio(1.25))), [Verdict::Moved]);
    }

    #[test]
    fn missing_new_undefined_and_real_metrics_fail() {
        let golden = metrics(0.7, 0.2);
        let mut got = golden.clone();
        let values = got.stages.get_mut("evaluate").unwrap();
        values[0].value = None;
        values[1].task = "purchase".into();
        let comparison = golden.hold(&got, &within(0.002));
        assert_eq!(verdicts(&comparison), [Verdict::Different, Verdict::Gone, Verdict::Ok, Verdict::New]);
        let real = GoldenMetrics { simulated: false, ..golden.clone() };
        assert!(!golden.hold(&real, &within(0.002)).passes());
    }

    #[test]
    fn a_golden_file_reads_well_and_comes_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("golden").join("p.ron");
        assert!(matches!(GoldenMetrics::read(&path), Err(GoldenError::Missing(_))));
        let golden = metrics(0.1 + 0.2, 0.2);
        golden.write(&path).unwrap();
        insta::assert_snapshot!(fs::read_to_string(&path).unwrap(), @r#"
        // Written by `mtorec golden bless`, held by `mtorec golden check`.
        GoldenMetrics(
            pipeline: "p",
            simulated: true,
            stages: {
                "evaluate": [
                    GoldenValue(metric: "Auc", task: "click", value: Some(0.30000000000000004)),
                    GoldenValue(metric: "LogLoss", task: "click", value: Some(0.2)),
                    GoldenValue(metric: "Auc", task: "conversion", value: None),
                ],
            },
        )
        "#);
        assert_eq!(GoldenMetrics::read(&path).unwrap(), golden);
        fs::write(&path, "Pipeline(").unwrap();
        assert!(matches!(GoldenMetrics::read(&path), Err(GoldenError::Format { .. })));
    }
}
