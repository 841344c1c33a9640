//! From the scores of a model to the numbers of an evaluation.

use super::{Evaluation, Metric, MetricValue};

/// The name under which a mean over tasks stands.
const MEAN: &str = "mean";

/// The rows of one split as a model scored them.
#[derive(Debug, Clone, Copy)]
pub struct Scored<'a> {
    /// Names of the K tasks.
    pub tasks: &'a [String],
    /// The logits, task by task, one a row.
    pub logits: &'a [Vec<f32>],
    /// The labels, row-major, rows × K.
    pub labels: &'a [u8],
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
    /// When the parts have not the same number of tasks and rows: a mistake in this program, not in a pipeline.
    pub fn measure(&self, metrics: &[Metric]) -> Vec<MetricValue> {
        let (tasks, cells) = (self.tasks.len(), self.rows() * self.tasks.len());
        assert_eq!(self.logits.len(), tasks, "tasks with logits");
        assert!(self.logits.iter().all(|logits| logits.len() == self.rows()), "logits of every task for every row");
        assert_eq!(self.labels.len(), cells, "labels");
        assert!(self.probabilities.is_none_or(|p| p.len() == cells), "probabilities");

        let mut values: Vec<Vec<MetricValue>> = vec![Vec::with_capacity(tasks + 1); metrics.len()];
        for (task, name) in self.tasks.iter().enumerate() {
            let labels = column(self.labels, tasks, task);
            let probabilities = self.probabilities.map(|probabilities| column(probabilities, tasks, task));
            for (metric, values) in metrics.iter().zip(&mut values) {
                values.push(MetricValue {
                    metric: metric.name().to_owned(),
                    task: name.clone(),
                    value: metric.of_logits(&self.logits[task], &labels),
                    attainable: probabilities.as_ref().and_then(|p| metric.of_probabilities(p, &labels)),
                    over: None,
                });
            }
        }
        for (metric, values) in metrics.iter().zip(&mut values) {
            values.push(mean(*metric, values));
        }
        values.into_iter().flatten().collect()
    }
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
    }
}

impl Evaluation {
    /// The evaluation of rows that a model scored; `on` says which rows they are.
    ///
    /// # Panics
    /// As [`Scored::measure`].
    pub fn of(on: impl Into<String>, simulated: bool, scored: &Scored, metrics: &[Metric]) -> Self {
        Self { on: on.into(), rows: scored.rows(), simulated, values: scored.measure(metrics) }
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
        let scored = Scored { tasks: &tasks, logits: &logits, labels: &labels, probabilities: Some(&probabilities) };
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
    fn an_undefined_task_is_left_out_of_the_mean() {
        let logits = [vec![2.0, -1.0], vec![0.0, 1.0]];
        let tasks = names();
        let labels = [1, 0, 0, 0];
        let scored = Scored { tasks: &tasks, logits: &logits, labels: &labels, probabilities: None };
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
        let scored = Scored { tasks: &tasks, logits: &logits, labels: &[], probabilities: Some(&[]) };
        assert!(scored.measure(METRICS).iter().all(|value| value.value.is_none() && value.attainable.is_none()));
    }

    #[test]
    fn names_are_those_of_the_language() {
        for metric in Metric::ALL {
            assert_eq!(crate::registry::to_ron(metric), metric.name());
        }
        assert_eq!(Metric::entries().len(), Metric::ALL.len());
    }
}
