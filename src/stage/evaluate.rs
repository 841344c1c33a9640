//! `Evaluate`: measures a model on rows it has not learned from.

use super::build_model::read_model;
use super::loading::for_each_batch;
use super::{Context, Execute, Inputs, Outcome, StageError, on_device};
use crate::data::{EncodedDataset, Rows, Schema, batches};
use crate::metric::{Evaluation, Scored};
use crate::model::Network;
use crate::spec::{Evaluate, On};
use crate::store::Draft;
use crate::tensor::{Kernels, Mode, Tape, Workspace};

/// Where the numbers lie in an artifact: an [`Evaluation`].
pub const METRICS: &str = "metrics.json";

/// Rows scored together: fixed, so that a row's score never depends on a pipeline's batch size, and many, because they
/// share the products of the ids' embeddings with the first layer.
pub(super) const ROWS: usize = 4096;

impl Execute for Evaluate {
    const REVISION: u32 = 3;

    fn run(&self, cx: &Context, inputs: &Inputs, out: &Draft) -> Result<Outcome, StageError> {
        on_device!(cx.device, |device| evaluate(self, device, cx, inputs, out))
    }
}

fn evaluate<D: Kernels>(
    stage: &Evaluate,
    device: &D,
    cx: &Context,
    inputs: &Inputs,
    out: &Draft,
) -> Result<Outcome, StageError> {
    let data = EncodedDataset::from_artifact(inputs.get("data"))?;
    let (_, network) = read_model(inputs.get("model"), &data.schema, device)?;
    let rows = match stage.on {
        On::Train => &data.train,
        On::Valid => &data.valid,
        On::Test => &data.test,
    };
    if let (Some(metric), None) = (stage.metrics.iter().find(|metric| metric.needs_groups()), rows.group()) {
        return Err(StageError::Field {
            field: "metrics",
            message: format!("`{}` compares rows of one group, and the rows of this log are in none", metric.name()),
            hint: "leave it out, or name a column that groups rows (a user, a search): `Csv(group: ..)`".to_owned(),
        });
    }
    cx.progress.begin(rows.len() as u64, "rows");
    let workspace = Workspace::new(device);
    let logits = predict(&network, &data.schema, rows, &workspace, |done| {
        cx.progress.at(done as u64, "");
        cx.check_interrupt()
    })?;
    let scored = scored(&data.schema, rows, &logits);
    let simulated = rows.probability().is_some();
    let evaluation =
        Evaluation::of(format!("{:?}", stage.on), simulated, &scored, &stage.metrics).with_reliability(&scored);
    let json = serde_json::to_vec_pretty(&evaluation)
        .map_err(|e| StageError::failed(format!("cannot write the metrics: {e}")))?;
    out.write(METRICS, &json)?;
    let means = stage.metrics.iter().filter_map(|metric| Some((metric, evaluation.mean(*metric)?)));
    let means: Vec<String> = means.map(|(metric, mean)| format!("mean {} {mean:.4}", metric.name())).collect();
    Ok(Outcome { simulated: evaluation.simulated, summary: format!("{} on {} rows", means.join(", "), rows.len()) })
}

/// The logits of every row, task by task.
///
/// # Errors
/// Whatever `progress` (given the rows done) returns.
pub fn predict<D: Kernels>(
    network: &Network<D>,
    schema: &Schema,
    rows: &Rows,
    workspace: &Workspace<D>,
    mut progress: impl FnMut(usize) -> Result<(), StageError>,
) -> Result<Vec<Vec<f32>>, StageError> {
    let mut logits = vec![Vec::with_capacity(rows.len()); network.tasks()];
    let mut slot = network.batch_slot(schema);
    for_each_batch(&mut slot, rows, None, (&batches(rows.len(), ROWS), 1), |batch, range| {
        let tape = Tape::new(&network.params, workspace, Mode::Eval);
        for (logits, var) in logits.iter_mut().zip(network.forward(&tape, &batch[0])) {
            logits.extend(network.params.device().download(&tape.value(var)));
        }
        drop(tape);
        progress(range.end)
    })?;
    Ok(logits)
}

/// Rows and their scores, for the metrics.
pub(super) fn scored<'a>(schema: &'a Schema, rows: &'a Rows, logits: &'a [Vec<f32>]) -> Scored<'a> {
    let (labels, groups, probabilities) = (rows.labels(), rows.group(), rows.probability());
    Scored { tasks: &schema.tasks, logits, labels, groups, probabilities }
}
