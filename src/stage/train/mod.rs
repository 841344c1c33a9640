//! `Train`: epochs of balanced steps, early stopping on the mean validation AUC, a checkpoint every epoch, exact resume.

mod combine;
mod curve;
#[cfg(test)]
mod devices;
mod record;
mod resume;
mod step;
mod stopping;
#[cfg(test)]
mod tests;

use std::ops::Range;

use serde_json::{Value, json};

use super::build_model::{read_model, write_model};
use super::evaluate::{predict, scored};
use super::loading::for_each_batch;
use super::{Context, Execute, Inputs, Outcome, StageError, on_device};
use crate::data::{EncodedDataset, batches, epoch_order, halves};
use crate::metric::{Evaluation, Metric};
use crate::model::ModelCard;
use crate::optim::Optimizer;
use crate::spec::Train;
use crate::store::Draft;
use crate::tensor::{Kernels, Workspace};
use curve::{Look, StepCurve};
use record::Snapshot;
pub use step::{Report, Trainer};
use stopping::{EarlyStopping, Verdict};

/// Where the learning curve lies in an artifact: JSON lines, one object for some of the steps (it has a `step`) and one for
/// every epoch (it has `steps`).
pub const CURVE: &str = "curve.jsonl";

impl Execute for Train {
    const REVISION: u32 = 4;

    fn run(&self, cx: &Context, inputs: &Inputs, out: &Draft) -> Result<Outcome, StageError> {
        on_device!(cx.device, |device| Training::new(self, device, cx, inputs).and_then(|training| training.run(out)))
    }
}

/// One training run between its epochs.
struct Training<'a, D: Kernels> {
    stage: &'a Train,
    cx: &'a Context<'a>,
    data: EncodedDataset,
    card: ModelCard,
    trainer: Trainer<D>,
    stopping: EarlyStopping,
    /// Parameters of the best epoch so far.
    best: Option<Snapshot>,
    /// Epochs done.
    epochs: usize,
    curve: Vec<Value>,
    workspace: Workspace<D>,
}

impl<'a, D: Kernels> Training<'a, D> {
    fn new(stage: &'a Train, device: &D, cx: &'a Context<'a>, inputs: &Inputs) -> Result<Self, StageError> {
        let data = EncodedDataset::from_artifact(inputs.get("data"))?;
        let (card, network) = read_model(inputs.get("model"), &data.schema, device)?;
        if data.train.len() < 2 {
            return Err(StageError::failed(
                "the training split has fewer than two rows: batch normalisation needs two",
            ));
        }
        let method = stage
            .balancer
            .build(network.tasks())
            .map_err(|problem| StageError::failed(format!("balancer {problem}")))?;
        let Optimizer::Adam(adam) = stage.optimizer;
        let trainer = Trainer::new(network, adam, method, stage.seed);
        if ranges(&trainer, data.train.len(), stage.batch).is_empty() {
            let parts = least_rows(&trainer);
            return Err(StageError::failed(format!(
                "every batch is cut into {} parts of at least two rows",
                parts / 2
            ))
            .hint(format!("`batch` should be at least {parts}, and there should be that many training rows")));
        }
        let stopping = EarlyStopping::new(stage.patience);
        let workspace = Workspace::new(device);
        Ok(Self { stage, cx, data, card, trainer, stopping, best: None, epochs: 0, curve: Vec::new(), workspace })
    }

    fn run(mut self, out: &Draft) -> Result<Outcome, StageError> {
        self.resume();
        while self.epochs < self.stage.epochs && !self.stopping.exhausted() {
            self.epoch()?;
            self.save()?;
        }
        let epochs = self.epochs;
        if let Some(best) = &self.best {
            best.restore(&mut self.trainer.network);
        }
        write_model(&self.card, &self.trainer.network, out)?;
        let lines: Vec<String> = self.curve.iter().map(|line| format!("{line}\n")).collect();
        out.write(CURVE, lines.concat().as_bytes())?;
        let best = self.stopping.best().map(|(epoch, score)| format!(", best epoch {epoch} with {score}"));
        let summary = format!(
            "{} with {}: {epochs} epoch{}{}",
            self.card.arch.name(),
            self.stage.balancer.name(),
            if epochs == 1 { "" } else { "s" },
            best.unwrap_or_default()
        );
        Ok(Outcome { simulated: false, summary })
    }

    /// One pass over the training rows and a look at the validation rows.
    fn epoch(&mut self) -> Result<(), StageError> {
        let epoch = self.epochs;
        let rows = self.data.train.len();
        let order = epoch_order(rows, self.stage.seed, epoch as u64);
        let mut slot = self.trainer.network.batch_slot(&self.data.schema);
        let tasks = self.trainer.network.tasks();
        let mut losses = vec![0.0; tasks];
        let mut weights = vec![0.0; tasks];
        let mut violation = None;
        let mut steps = 0;
        self.cx.progress.begin(rows as u64, "rows");
        let mut batch_rows = 0;
        let (cx, stage, schema) = (self.cx, self.stage, &self.data.schema);
        let (trainer, workspace) = (&mut self.trainer, &self.workspace);
        let ranges = ranges(trainer, rows, stage.batch);
        let mut curve = StepCurve::new(ranges.len(), tasks);
        let mut support = trainer.adapts();
        let mut counted = 0;
        let cut = (&ranges[..], trainer.parts());
        for_each_batch(&mut slot, &self.data.train, Some(&order), cut, |batch, range| {
            cx.check_interrupt()?;
            if range.len() != batch_rows {
                // buffers of another length are of no more use
                workspace.clear();
                batch_rows = range.len();
            }
            if support {
                trainer.adapt(batch, workspace);
                support = false;
                return Ok(());
            }
            support = trainer.adapts();
            let look = curve.look(steps, trainer.steps);
            let report = trainer.step(batch, epoch as u64, look == Look::Gradients, workspace);
            if let Some(task) = report.losses.iter().position(|loss| !loss.is_finite()) {
                let task = &schema.tasks[task];
                let message =
                    format!("the loss of task `{task}` is not finite in epoch {}, step {}", epoch + 1, steps + 1);
                return Err(StageError::failed(message).hint("a smaller `optimizer.lr` usually helps"));
            }
            for k in 0..tasks {
                losses[k] += report.losses[k] * range.len() as f64;
                weights[k] += report.weights[k];
            }
            if let Some(step) = report.max_violation {
                *violation.get_or_insert(0.0) += step;
            }
            curve.note(look, epoch, trainer.steps, &report);
            counted += range.len();
            steps += 1;
            let done = format!("epoch {}/{}, loss {:.4}", epoch + 1, stage.epochs, mean(&report.losses));
            cx.progress.at(range.end as u64, &done);
            Ok(())
        })?;
        losses.iter_mut().for_each(|loss| *loss /= counted as f64);
        weights.iter_mut().chain(&mut violation).for_each(|mean| *mean /= f64::from(steps));
        self.curve.extend(curve.lines);
        self.workspace.clear();
        self.trainer.settle();
        let valid = self.validate()?;
        self.judge(epoch, &Means { losses, weights, violation }, &valid);
        self.workspace.clear();
        Ok(())
    }

    fn validate(&self) -> Result<Evaluation, StageError> {
        let (schema, rows) = (&self.data.schema, &self.data.valid);
        let logits = predict(&self.trainer.network, schema, rows, &self.workspace, |_| self.cx.check_interrupt())?;
        Ok(Evaluation::of("Valid", false, &scored(schema, rows, &logits), &[Metric::Auc, Metric::LogLoss]))
    }

    /// Notes an epoch in the curve and keeps its parameters if they are the best.
    fn judge(&mut self, epoch: usize, train: &Means, valid: &Evaluation) {
        let (auc, log_loss) = (valid.mean(Metric::Auc), valid.mean(Metric::LogLoss));
        let verdict = self.stopping.judge(epoch + 1, auc, log_loss);
        if verdict == Verdict::Best {
            self.best = Some(Snapshot::take(&self.trainer.network));
        }
        let by_task = |metric: Metric| -> Vec<Value> {
            let tasks = valid.values.iter().filter(|value| value.metric == metric.name() && value.over.is_none());
            tasks.map(|value| json!(value.value)).collect()
        };
        let mut line = json!({
            "epoch": epoch + 1,
            "steps": self.trainer.steps,
            "train_loss": train.losses,
            "task_weight": train.weights,
            "valid_auc": by_task(Metric::Auc),
            "valid_log_loss": by_task(Metric::LogLoss),
            "valid_mean_auc": auc,
            "best": verdict == Verdict::Best,
        });
        // models without routers have no such number
        if let Some(violation) = train.violation {
            line["max_violation"] = json!(violation);
        }
        self.epochs += 1;
        self.curve.push(line);
        let shown = |value: Option<f64>| value.map_or("undefined".to_owned(), |value| format!("{value:.4}"));
        self.cx.progress.note(&format!(
            "epoch {:>3}  train loss {:.4}  valid AUC {}  log loss {}{}",
            epoch + 1,
            mean(&train.losses),
            shown(auc),
            shown(log_loss),
            if verdict == Verdict::Best { "  *" } else { "" }
        ));
    }
}

/// Means over an epoch's steps.
struct Means {
    losses: Vec<f64>,
    weights: Vec<f64>,
    /// Largest excess load of an expert, see [`Report::max_violation`].
    violation: Option<f64>,
}

/// The fewest rows of a batch that can be cut into the parts that a step needs, two rows each.
fn least_rows<D: Kernels>(trainer: &Trainer<D>) -> usize {
    2 * trainer.parts() * if trainer.adapts() { 2 } else { 1 }
}

/// The ranges of an epoch; where steps need parts of batches, a last batch too short for them is left out.
fn ranges<D: Kernels>(trainer: &Trainer<D>, rows: usize, batch: usize) -> Vec<Range<usize>> {
    let mut ranges = batches(rows, batch);
    let least = least_rows(trainer);
    if least > 2 {
        ranges.retain(|range| range.len() >= least);
    }
    if trainer.adapts() { halves(&ranges) } else { ranges }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}
