//! From the scores of a model to the numbers of an evaluation.

use super::{
    CALIBRATION_BINS, Evaluation, Metric, MetricValue, Reliability, auc, calibration_ratio, ece, gauc, log_loss,
    log_loss_of_probabilities, pr_auc, reliability,
};

/// The name under which a mean over tasks stands.
pub const MEAN: &str = "mean";

/// The rows of one split as a model scored them.
#[derive(Debug, Clone, Copy)]
pub struct Scored<'a> {
    /// Names of the K tasks.
    pub tasks: &'a [String],
    /// The logits, task by task, one a row.
    pub logits: &'a [Vec<f32>],
    /// The labels, row-major, rows × K.
    pub labels: &'a [u8],
    /// The group of each row (a search, a user), if the log has groups.
    pub groups: Option<&'a [i64]>,
    /// The probabilities by which the labels were drawn, row-major, rows × K: known for simulated logs only.
    pub probabilities: Option<&'a [f32]>,
}

impl Scored<'_> {
    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.logits.first().map_or(0, Vec::len)
    }

    /// Every metric of every task, and after the tasks their mean.
    ///
    /// # Panics
    /// When the parts have not the same number of tasks and rows, or a metric needs groups that are not there: a
    /// mistake in this program, not in a pipeline.
    pub fn measure(&self, metrics: &[Metric]) -> Vec<MetricValue> {
        let (tasks, cells) = (self.tasks.len(), self.rows() * self.tasks.len());
        assert_eq!(self.logits.len(), tasks, "tasks with logits");
        assert!(self.logits.iter().all(|logits| logits.len() == self.rows()), "logits of every task for every row");
        assert_eq!(self.labels.len(), cells, "labels");
        assert!(self.probabilities.is_none_or(|p| p.len() == cells), "probabilities");
        assert!(self.groups.is_none_or(|groups| groups.len() == self.rows()), "groups");
        assert!(self.groups.is_some() || !metrics.iter().any(|metric| metric.needs_groups()), "groups for a metric");

        let mut values: Vec<Vec<MetricValue>> = vec![Vec::with_capacity(tasks + 1); metrics.len()];
        for (task, name) in self.tasks.iter().enumerate() {
            let labels = column(self.labels, tasks, task);
            let rows = TaskRows { logits: &self.logits[task], labels: &labels, groups: self.groups };
            let truth = self.probabilities.map(|probabilities| column(probabilities, tasks, task));
            for (metric, values) in metrics.iter().zip(&mut values) {
                let (value, groups) = metric.of(&rows);
                values.push(MetricValue {
                    metric: metric.name().to_owned(),
                    task: name.clone(),
                    value,
                    attainable: truth.as_ref().and_then(|truth| metric.attainable(truth, &rows)),
                    over: None,
                    groups,
                });
            }
        }
        for (metric, values) in metrics.iter().zip(&mut values) {
            values.push(mean(*metric, values));
        }
        values.into_iter().flatten().collect()
    }

    /// The reliability curve of every task.
    fn reliability(&self) -> Vec<Reliability> {
        let of_task = |(task, name): (usize, &String)| {
            let labels = column(self.labels, self.tasks.len(), task);
            let bins = reliability(&probabilities(&self.logits[task]), &labels, CALIBRATION_BINS);
            Reliability { task: name.clone(), bins }
        };
        self.tasks.iter().enumerate().map(of_task).collect()
    }
}

/// One task's rows as a metric sees them.
struct TaskRows<'a> {
    logits: &'a [f32],
    labels: &'a [u8],
    groups: Option<&'a [i64]>,
}

impl Metric {
    /// The metric of one task, and for one by group, of how many groups.
    fn of(self, rows: &TaskRows) -> (Option<f64>, Option<usize>) {
        let &TaskRows { logits, labels, groups } = rows;
        let value = match self {
            Metric::Auc => auc(logits, labels),
            Metric::LogLoss => log_loss(logits, labels),
            Metric::Gauc => return groups.and_then(|groups| gauc(logits, labels, groups)).unzip(),
            Metric::PrAuc => pr_auc(logits, labels),
            Metric::Ece => ece(&probabilities(logits), labels, CALIBRATION_BINS),
            Metric::CalibrationRatio => calibration_ratio(&probabilities(logits), labels),
        };
        (value, None)
    }

    /// What the probabilities come to by which the labels were drawn, where no model can do better.
    fn attainable(self, truth: &[f32], rows: &TaskRows) -> Option<f64> {
        match self {
            Metric::Auc => auc(truth, rows.labels),
            Metric::LogLoss => log_loss_of_probabilities(truth, rows.labels),
            Metric::Gauc => rows.groups.and_then(|groups| gauc(truth, rows.labels, groups)).map(|(value, _)| value),
            Metric::PrAuc => pr_auc(truth, rows.labels),
            Metric::Ece | Metric::CalibrationRatio => None,
        }
    }
}

/// The probabilities of a positive label that logits stand for.
fn probabilities(logits: &[f32]) -> Vec<f64> {
    logits.iter().map(|&logit| 1.0 / (1.0 + (-f64::from(logit)).exp())).collect()
}

/// One column of a row-major table.
fn column<T: Copy>(table: &[T], columns: usize, column: usize) -> Vec<T> {
    table.iter().skip(column).step_by(columns).copied().collect()
}

/// The mean over the tasks that define the metric; what is attainable, over the same tasks.
fn mean(metric: Metric, tasks: &[MetricValue]) -> MetricValue {
    let defined: Vec<&MetricValue> = tasks.iter().filter(|task| task.value.is_some()).collect();
    let over = |number: fn(&MetricValue) -> Option<f64>| -> Option<f64> {
        let sum: f64 = defined.iter().map(|task| number(task)).sum::<Option<f64>>()?;
        (!defined.is_empty()).then(|| sum / defined.len() as f64)
    };
    MetricValue {
        metric: metric.name().to_owned(),
        task: MEAN.to_owned(),
        value: over(|task| task.value),
        attainable: over(|task| task.attainable),
        over: Some(defined.len()),
        groups: None,
    }
}

impl Evaluation {
    /// The evaluation of rows that a model scored; `on` says which rows they are.
    ///
    /// # Panics
    /// As [`Scored::measure`].
    pub fn of(on: impl Into<String>, simulated: bool, scored: &Scored, metrics: &[Metric]) -> Self {
        let values = scored.measure(metrics);
        Self { on: on.into(), rows: scored.rows(), simulated, values, reliability: Vec::new() }
    }

    /// The same with the reliability curves of these rows, which training's validations do without.
    #[must_use]
    pub fn with_reliability(self, scored: &Scored) -> Self {
        Self { reliability: scored.reliability(), ..self }
    }

    /// The mean over tasks of a metric, if it was measured and any task defines it.
    pub fn mean(&self, metric: Metric) -> Option<f64> {
        self.values.iter().find(|value| value.metric == metric.name() && value.over.is_some())?.value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &[Metric] = &[Metric::Auc, Metric::LogLoss];

    fn names() -> Vec<String> {
        vec!["click".to_owned(), "conversion".to_owned()]
    }

    #[test]
    fn metric_by_metric_tasks_in_order_then_the_mean() {
        let logits = [vec![2.0, -1.0, 0.5, -2.0], vec![0.0, 1.0, 2.0, -1.0]];
        let labels = [1, 0, 0, 0, 1, 1, 0, 0];
        let probabilities = [0.9, 0.1, 0.1, 0.1, 0.8, 0.7, 0.1, 0.2];
        let tasks = names();
        let scored = Scored {
            tasks: &tasks,
            logits: &logits,
            labels: &labels,
            groups: None,
            probabilities: Some(&probabilities),
        };
        let values = scored.measure(METRICS);
        let rows: Vec<(&str, &str)> = values.iter().map(|v| (v.metric.as_str(), v.task.as_str())).collect();
        assert_eq!(
            rows,
            [
                ("Auc", "click"),
                ("Auc", "conversion"),
                ("Auc", "mean"),
                ("LogLoss", "click"),
                ("LogLoss", "conversion"),
                ("LogLoss", "mean"),
            ]
        );
        assert_eq!((values[0].value, values[1].value, values[2].value), (Some(1.0), Some(1.0), Some(1.0)));
        assert_eq!((values[2].attainable, values[2].over), (Some(1.0), Some(2)));
        let log_loss = (values[3].value.unwrap() + values[4].value.unwrap()) / 2.0;
        assert_eq!(values[5].value, Some(log_loss));
        let best = -(3.0 * 0.9f64.ln() + 0.8f64.ln()) / 4.0;
        assert!((values[3].attainable.unwrap() - best).abs() < 1e-6 && values[3].over.is_none());

        let evaluation = Evaluation::of("Test", true, &scored, METRICS);
        assert_eq!((evaluation.rows, &evaluation.values), (4, &values));
        assert_eq!(evaluation.mean(Metric::Auc), Some(1.0));
        let json = serde_json::to_string(&evaluation).unwrap();
        assert_eq!(serde_json::from_str::<Evaluation>(&json).unwrap(), evaluation);
    }

    #[test]
    fn by_group_and_calibrated() {
        // Logits of probabilities ¼, ½ and ¾.
        let (low, middle, high) = (-(3f32.ln()), 0.0, 3f32.ln());
        let logits = [vec![low, middle, high, low]];
        let (tasks, groups) = (["click".to_owned()], [5, 5, 2, 2]);
        let scored = Scored {
            tasks: &tasks,
            logits: &logits,
            labels: &[0, 1, 0, 0],
            groups: Some(&groups),
            probabilities: Some(&[0.9, 0.1, 0.5, 0.5]),
        };
        let evaluation = Evaluation::of("Test", true, &scored, Metric::ALL).with_reliability(&scored);
        let of_task = |metric: Metric| {
            let mut values = evaluation.values.iter().filter(|value| value.metric == metric.name());
            values.next().cloned().unwrap()
        };
        let near = |value: Option<f64>, expected: f64| assert!((value.unwrap() - expected).abs() < 1e-7, "{value:?}");
        let gauc = of_task(Metric::Gauc);
        assert_eq!((gauc.value, gauc.groups, gauc.attainable), (Some(1.0), Some(1), Some(0.0)));
        near(of_task(Metric::PrAuc).value, 0.5);
        near(of_task(Metric::PrAuc).attainable, 0.25);
        near(of_task(Metric::Ece).value, (0.5 + 0.5 + 0.75) / 4.0);
        near(of_task(Metric::CalibrationRatio).value, 1.75);
        for metric in [Metric::Ece, Metric::CalibrationRatio] {
            assert_eq!((of_task(metric).attainable, of_task(metric).groups), (None, None));
        }
        let [Reliability { task, bins }] = &evaluation.reliability[..] else { panic!("one task") };
        let points: Vec<(usize, f64)> = bins.iter().map(|bin| (bin.rows, bin.observed)).collect();
        assert_eq!((task.as_str(), points), ("click", vec![(2, 0.0), (1, 1.0), (1, 0.0)]));
        near(Some(bins[0].predicted), 0.25);
    }

    #[test]
    fn files_of_earlier_versions_still_read() {
        let json = r#"{"on": "Test", "rows": 9, "simulated": false,
            "values": [
                {"metric": "Auc", "task": "click", "value": 0.5},
                {"metric": "Auc", "task": "mean", "value": 0.5, "over": 1}
            ]}"#;
        let evaluation: Evaluation = serde_json::from_str(json).unwrap();
        assert_eq!((evaluation.mean(Metric::Auc), evaluation.reliability.len()), (Some(0.5), 0));
    }

    #[test]
    fn an_undefined_task_is_left_out_of_the_mean() {
        let logits = [vec![2.0, -1.0], vec![0.0, 1.0]];
        let tasks = names();
        let labels = [1, 0, 0, 0];
        let scored = Scored { tasks: &tasks, logits: &logits, labels: &labels, groups: None, probabilities: None };
        let values = scored.measure(&[Metric::Auc]);
        assert_eq!(values[1].value, None);
        assert_eq!((values[2].value, values[2].over, values[2].attainable), (Some(1.0), Some(1), None));

        let labels = [0, 0, 0, 0];
        let scored = Scored { labels: &labels, ..scored };
        let values = scored.measure(&[Metric::Auc]);
        assert_eq!((values[2].value, values[2].over), (None, Some(0)));
    }

    #[test]
    fn no_rows_are_undefined() {
        let logits = [vec![], vec![]];
        let tasks = names();
        let scored =
            Scored { tasks: &tasks, logits: &logits, labels: &[], groups: Some(&[]), probabilities: Some(&[]) };
        assert!(scored.measure(Metric::ALL).iter().all(|value| value.value.is_none() && value.attainable.is_none()));
    }

    #[test]
    fn names_are_those_of_the_language() {
        for metric in Metric::ALL {
            assert_eq!(crate::registry::to_ron(metric), metric.name());
        }
        assert_eq!(Metric::entries().len(), Metric::ALL.len());
        let found = ["log-loss", "LOGLOSS", "LogLoss", "pr-auc", "calibration-ratio", "accuracy"].map(Metric::named);
        let loss = Some(Metric::LogLoss);
        assert_eq!(found, [loss, loss, loss, Some(Metric::PrAuc), Some(Metric::CalibrationRatio), None]);
    }
}
