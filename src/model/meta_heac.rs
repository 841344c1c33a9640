//! Meta hybrid experts and critics.

use dfdx::shapes::Dim;
use serde::{Deserialize, Serialize};

use super::{Adaptation, Architecture, Misfit, Model, Widths};
use crate::data::Schema;
use crate::nn::{Batch, Builder, Experts, Fields, HiddenGate, Init, Style, TorchPart, Towers};
use crate::registry::Describe;
use crate::tensor::op::{Candidates, mixture_logits, parameter, prefix_rows};
use crate::tensor::{Kernels, Kind, ParamId, Tape, Var};

/// Experts and critics shared by all tasks, both weighed by gates that read a task's embedding and the mean token.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MetaHeac {
    /// Number of experts.
    pub experts: usize,
    /// Number of critics.
    pub critics: usize,
    /// Share of the units dropped after each hidden layer in training.
    pub dropout: f32,
    /// As in MTReclib: the gated sum of the critics divided by their number once more, so that no probability exceeds
    /// 1/critics.
    pub reference_mean: bool,
    /// Meta training: a batch is cut in halves, the task embeddings take a gradient step on the first, and the losses are
    /// those of the second after that step. First order: the step's own dependence on the parameters, a factor of
    /// `inner_lr` smaller, is left out. Every batch is followed by an optimizer step (in MTReclib every second one).
    pub meta: bool,
    /// Length of that step.
    pub inner_lr: f32,
}

impl Default for MetaHeac {
    fn default() -> Self {
        Self { experts: 8, critics: 5, dropout: 0.2, reference_mean: false, meta: false, inner_lr: 2e-4 }
    }
}

impl Describe for MetaHeac {
    const SUMMARY: &'static str =
        "experts and critics shared by all tasks, weighed by gates that read a task's embedding";
    const SOURCE: &'static str = "Zhu et al., KDD 2021";
}

/// `c_k = [t_k | m]`, `h_k = Σ_j gate(c_k)_j·expert_j(e)`, `p_k = Σ_j critic_gate(c_k)_j·σ(critic_j(h_k))`.
struct Layers<W: Widths> {
    fields: Fields<W::Embed>,
    /// One row a task.
    tasks: Vec<ParamId>,
    experts: Experts<W::Bottom1, W::Bottom2>,
    expert_gate: HiddenGate<usize>,
    critics: Towers<W::Bottom2, W::Tower1, W::Tower2>,
    critic_gate: HiddenGate<usize>,
    width: W::Embed,
    /// What the gated sum of the critics is multiplied by.
    scale: f32,
    /// Length of the task embeddings' own step in meta training.
    inner_lr: Option<f32>,
}

impl Architecture for MetaHeac {
    fn fits(&self) -> Result<(), Misfit> {
        Misfit::in_counts(&[("experts", self.experts), ("critics", self.critics)])
    }

    fn build<W: Widths, D: Kernels>(&self, widths: W, schema: &Schema, b: &mut Builder<D>) -> Box<dyn Model<D>> {
        let style = Style::mtreclib(self.dropout);
        let width = widths.embed();
        let names = ("model.embedding.embedding.weight", "model.numerical_layer");
        let fields = Fields::named(b, schema, width, 1.0, names.0, names.1);
        let (d, count) = (width.size(), schema.tasks.len());
        let table = "model.task_embedding.weight";
        let task = |k| b.add(format!("{table}.{k}"), Kind::Weight, d, Init::Normal);
        let tasks: Vec<ParamId> = (0..count).map(task).collect();
        let part = |&param| TorchPart { param, offset: 0, strides: vec![d, 1] };
        b.torch_parts(table.to_owned(), vec![count, d], 0, tasks.iter().map(part).collect());
        let name = |e| format!("model.expert.{e}");
        let experts = Experts::new(b, &name, self.experts, &fields, widths.bottom(), style);
        let expert_gate = HiddenGate::new(b, "model.expert_gate", 2 * d, self.experts);
        let (_, hidden) = widths.bottom();
        let name = |c| format!("model.critic.{c}");
        let before = b.norms.len();
        let critics = Towers::new(b, &name, self.critics, hidden, widths.tower(), style);
        // every task's representation goes through all of them
        b.norms[before..].iter_mut().for_each(|norm| norm.passes = count);
        let critic_gate = HiddenGate::new(b, "model.critic_gate", 2 * d, self.critics);
        let scale = if self.reference_mean { 1.0 / self.critics as f32 } else { 1.0 };
        let inner_lr = self.meta.then_some(self.inner_lr);
        Box::new(Layers::<W> { fields, tasks, experts, expert_gate, critics, critic_gate, width, scale, inner_lr })
    }
}

impl<W: Widths, D: Kernels> Model<D> for Layers<W> {
    fn forward(&self, tape: &Tape<D>, batch: &Batch<D>) -> Vec<Var<(usize,)>> {
        let e = self.fields.embed(tape, batch);
        let experts = [Candidates::all(self.experts.forward(tape, &e))];
        let mean = e.mean_token(tape);
        let logits = |&task: &ParamId| {
            let context = prefix_rows(tape, parameter(tape, task, (self.width,)), mean);
            let h = self.expert_gate.mix(tape, context, &experts);
            let weights = self.critic_gate.forward(tape, context);
            mixture_logits(tape, weights, self.critics.forward(tape, h), self.scale)
        };
        self.tasks.iter().map(logits).collect()
    }

    fn adaptation(&self) -> Option<Adaptation> {
        self.inner_lr.map(|rate| Adaptation { params: self.tasks.clone(), rate })
    }
}
