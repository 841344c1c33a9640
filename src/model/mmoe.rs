//! Multi-gate mixture of experts.

use serde::{Deserialize, Serialize};

use super::{Architecture, Misfit, Model, Widths};
use crate::data::Schema;
use crate::nn::{Batch, Builder, Experts, Fields, Gate, Style, Tower};
use crate::registry::Describe;
use crate::tensor::op::Candidates;
use crate::tensor::{Kernels, Tape, Var};

/// Experts shared by all tasks, one softmax gate and one tower a task.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mmoe {
    /// Number of experts.
    pub experts: usize,
    /// Share of the units dropped after each hidden layer in training.
    pub dropout: f32,
}

impl Default for Mmoe {
    fn default() -> Self {
        Self { experts: 8, dropout: 0.2 }
    }
}

impl Describe for Mmoe {
    const SUMMARY: &'static str = "experts shared by all tasks, one softmax gate and one tower a task";
    const SOURCE: &'static str = "Ma et al., KDD 2018";
}

/// `h_k = Σ_j softmax(W_k·e)_j · expert_j(e)`, `logit_k = tower_k(h_k)`.
struct Layers<W: Widths> {
    fields: Fields<W::Embed>,
    experts: Experts<W::Bottom1, W::Bottom2>,
    gates: Vec<Gate>,
    towers: Vec<Tower<W::Bottom2, W::Tower1, W::Tower2>>,
}

impl Architecture for Mmoe {
    const ALIASES: &'static [(&'static str, &'static str)] = &[
        ("shared_module.0", "embedding"),
        ("shared_module.1", "expert"),
        ("shared_module.2", "numerical_layer"),
        ("task_specific_module.0", "tower"),
        ("task_specific_module.1", "gate"),
    ];

    fn fits(&self) -> Result<(), Misfit> {
        Misfit::in_counts(&[("experts", self.experts)])
    }

    fn build<W: Widths, D: Kernels>(&self, widths: W, schema: &Schema, b: &mut Builder<D>) -> Box<dyn Model<D>> {
        let (tasks, style) = (schema.tasks.len(), Style::mtoreclib(self.dropout));
        let fields = Fields::new(b, schema, widths.embed(), 0.1);
        let name = |e| format!("expert.{e}");
        let experts = Experts::new(b, &name, self.experts, &fields, widths.bottom(), style);
        let gates = (0..tasks).map(|k| Gate::new(b, &format!("gate.{k}"), &fields, self.experts)).collect();
        let (_, hidden) = widths.bottom();
        let tower = |k| Tower::new(b, &format!("tower.{k}"), hidden, widths.tower(), style);
        let towers = (0..tasks).map(tower).collect();
        Box::new(Layers::<W> { fields, experts, gates, towers })
    }
}

impl<W: Widths, D: Kernels> Model<D> for Layers<W> {
    fn forward(&self, tape: &Tape<D>, batch: &Batch<D>) -> Vec<Var<(usize,)>> {
        let e = self.fields.embed(tape, batch);
        let experts = [Candidates::all(self.experts.forward(tape, &e))];
        let tasks = self.gates.iter().zip(&self.towers);
        tasks.map(|(gate, tower)| tower.forward(tape, gate.mix(tape, &e, &experts))).collect()
    }
}
