//! The learning curve of a training as charts: losses, validation metrics, task weights, gradient cosines.

use std::fs;
use std::path::Path;

use serde::Deserialize;

use super::chart::{Chart, Line};

/// A line of `curve.jsonl`: of a step, or of an epoch.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(untagged)]
enum Noted {
    Epoch {
        epoch: u32,
        steps: f64,
        train_loss: Vec<Option<f64>>,
        valid_auc: Vec<Option<f64>>,
        valid_mean_auc: Option<f64>,
        best: bool,
    },
    Step {
        step: f64,
        loss: Vec<Option<f64>>,
        weight: Vec<Option<f64>>,
        #[serde(default)]
        cosine: Option<Vec<Option<f64>>>,
    },
}

/// Finds in a note where it stands and its numbers, task by task or pair by pair.
type Pick = fn(&Noted) -> Option<(f64, &[Option<f64>])>;

/// A learning curve.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Curve {
    noted: Vec<Noted>,
}

impl Curve {
    /// Reads the file.
    ///
    /// # Errors
    /// In words, when it cannot be read or understood.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))?;
        let lines = text.lines().enumerate().map(|(at, line)| {
            serde_json::from_str(line)
                .map_err(|error| format!("cannot understand line {} of `{}`: {error}", at + 1, path.display()))
        });
        Ok(Self { noted: lines.collect::<Result<_, _>>()? })
    }

    /// The mean validation AUC, epoch by epoch.
    pub fn mean_auc(&self) -> Vec<(f64, f64)> {
        let point = |noted: &Noted| match noted {
            Noted::Epoch { epoch, valid_mean_auc, .. } => Some((f64::from(*epoch), (*valid_mean_auc)?)),
            Noted::Step { .. } => None,
        };
        self.noted.iter().filter_map(point).collect()
    }

    /// The charts that have something to show.
    pub fn charts(&self, tasks: &[String]) -> Vec<Chart> {
        let name = |task: usize| tasks.get(task).cloned().unwrap_or_else(|| format!("task {}", task + 1));
        let best = self.noted.iter().rev().find_map(|noted| match noted {
            Noted::Epoch { epoch, steps, best: true, .. } => Some((f64::from(*epoch), *steps)),
            _ => None,
        });
        let by_epoch = |pick: Pick| self.lines(pick, &name);
        let mut validation = by_epoch(|noted| match noted {
            Noted::Epoch { epoch, valid_auc, .. } => Some((f64::from(*epoch), valid_auc)),
            Noted::Step { .. } => None,
        });
        if validation.len() > 1 {
            validation.push(Line { name: "mean".into(), colour: super::chart::COLOURS + 7, points: self.mean_auc() });
        }
        let losses = by_epoch(|noted| match noted {
            Noted::Epoch { epoch, train_loss, .. } => Some((f64::from(*epoch), train_loss)),
            Noted::Step { .. } => None,
        });
        let step_losses = by_epoch(|noted| match noted {
            Noted::Step { step, loss, .. } => Some((*step, loss)),
            Noted::Epoch { .. } => None,
        });
        let weights = by_epoch(|noted| match noted {
            Noted::Step { step, weight, .. } => Some((*step, weight)),
            Noted::Epoch { .. } => None,
        });
        let pairs = |tasks: usize| (0..tasks).flat_map(move |i| (i + 1..tasks).map(move |j| (i, j)));
        let tasks = losses.len().max(weights.len());
        let pair = |at: usize| {
            pairs(tasks)
                .nth(at)
                .map_or_else(|| format!("pair {}", at + 1), |(i, j)| format!("{} and {}", name(i), name(j)))
        };
        let cosines = self.lines(
            |noted| match noted {
                Noted::Step { step, cosine: Some(cosine), .. } => Some((*step, cosine)),
                _ => None,
            },
            &pair,
        );
        let epoch_mark = best.map(|(epoch, _)| (epoch, format!("best epoch {epoch}")));
        let step_mark = best.map(|(_, step)| (step, "best".to_owned()));
        let chart = |title: &str, x, y: &str, lines, mark: &Option<(f64, String)>, level| Chart {
            title: title.to_owned(),
            x,
            y: y.to_owned(),
            lines,
            mark: mark.clone(),
            level,
            diagonal: false,
        };
        let charts = vec![
            chart("Validation AUC", "epoch", "AUC", validation, &epoch_mark, None),
            chart("Training loss, mean of each epoch", "epoch", "loss", losses, &epoch_mark, None),
            chart("Training loss of single steps", "step", "loss", step_losses, &step_mark, None),
            chart("Task weights", "step", "weight", weights, &step_mark, None),
            chart("Cosine between task gradients", "step", "cosine", cosines, &step_mark, Some(0.0)),
        ];
        charts.into_iter().filter(Chart::is_worth_drawing).collect()
    }

    /// A line for each of the numbers that `pick` finds in a note.
    fn lines(&self, pick: Pick, name: &dyn Fn(usize) -> String) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        for (x, numbers) in self.noted.iter().filter_map(pick) {
            for (at, number) in numbers.iter().enumerate() {
                if lines.len() <= at {
                    lines.push(Line { name: name(at), colour: at, points: Vec::new() });
                }
                lines[at].points.extend(number.map(|number| (x, number)));
            }
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_becomes_charts() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("curve.jsonl");
        fs::write(
            &path,
            r#"{"step":1,"epoch":1,"loss":[0.8,0.7,0.6],"weight":[1.0,1.0,1.0],"cosine":[0.1,0.2,0.3]}
{"step":2,"epoch":1,"loss":[0.7,0.6,0.5],"weight":[1.1,0.9,1.0]}
{"epoch":1,"steps":2,"train_loss":[0.75,0.65,0.55],"task_weight":[1.0,1.0,1.0],"valid_auc":[0.5,null,0.6],"valid_log_loss":[0.6,0.6,0.6],"valid_mean_auc":0.55,"best":true}
{"step":3,"epoch":2,"loss":[0.7,0.6,0.5],"weight":[1.1,0.9,1.0],"cosine":[-0.1,0.2,0.3]}
{"epoch":2,"steps":3,"train_loss":[0.7,0.6,0.5],"task_weight":[1.0,1.0,1.0],"valid_auc":[0.6,null,0.4],"valid_log_loss":[0.6,0.6,0.6],"valid_mean_auc":0.5,"best":false}
"#,
        )
        .unwrap();
        let curve = Curve::read(&path).unwrap();
        assert_eq!(curve.mean_auc(), [(1.0, 0.55), (2.0, 0.5)]);
        let charts = curve.charts(&["click".into(), "like".into()]);
        let titles: Vec<&str> = charts.iter().map(|chart| chart.title.as_str()).collect();
        assert_eq!(titles[0], "Validation AUC");
        assert_eq!(titles.len(), 5);
        assert_eq!(charts[0].mark, Some((1.0, "best epoch 1".into())));
        let names: Vec<&str> = charts[4].lines.iter().map(|line| line.name.as_str()).collect();
        assert_eq!(names, ["click and like", "click and task 3", "like and task 3"]);
        assert_eq!(charts[4].lines[0].points, [(1.0, 0.1), (3.0, -0.1)]);
        assert!(charts[0].lines[1].points.is_empty() && charts[0].lines[3].name == "mean");

        fs::write(&path, "{\"step\":1}\n").unwrap();
        assert!(Curve::read(&path).unwrap_err().starts_with("cannot understand line 1 of `"));
    }
}
