//! One-gate mixture of experts.

use serde::{Deserialize, Serialize};

use super::{Architecture, Misfit, Model, Widths};
use crate::data::Schema;
use crate::nn::{Batch, Builder, Experts, Fields, Gate, Style, Tower};
use crate::registry::Describe;
use crate::tensor::op::Candidates;
use crate::tensor::{Kernels, Tape, Var};

/// Experts and one softmax gate shared by all tasks, a tower for each.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Omoe {
    /// Number of experts.
    pub experts: usize,
    /// Share of the units dropped after each hidden layer in training.
    pub dropout: f32,
}

impl Default for Omoe {
    fn default() -> Self {
        Self { experts: 8, dropout: 0.2 }
    }
}

impl Describe for Omoe {
    const SUMMARY: &'static str = "experts and one softmax gate shared by all tasks, a tower for each";
    const SOURCE: &'static str = "Jacobs et al., Neural Computation 1991; Ma et al., KDD 2018";
}

/// `h = Σ_j softmax(W·e)_j · expert_j(e)`, `logit_k = tower_k(h)`.
struct Layers<W: Widths> {
    fields: Fields<W::Embed>,
    experts: Experts<W::Bottom1, W::Bottom2>,
    gate: Gate,
    towers: Vec<Tower<W::Bottom2, W::Tower1, W::Tower2>>,
}

impl Architecture for Omoe {
    fn fits(&self) -> Result<(), Misfit> {
        Misfit::in_counts(&[("experts", self.experts)])
    }

    fn build<W: Widths, D: Kernels>(&self, widths: W, schema: &Schema, b: &mut Builder<D>) -> Box<dyn Model<D>> {
        let style = Style::mtoreclib(self.dropout);
        let fields = Fields::new(b, schema, widths.embed(), 1.0);
        let experts = Experts::new(b, &|e| format!("expert.{e}"), self.experts, &fields, widths.bottom(), style);
        let gate = Gate::new(b, "gate", &fields, self.experts);
        let (_, hidden) = widths.bottom();
        let tower = |k| Tower::new(b, &format!("tower.{k}"), hidden, widths.tower(), style);
        let towers = (0..schema.tasks.len()).map(tower).collect();
        Box::new(Layers::<W> { fields, experts, gate, towers })
    }
}

impl<W: Widths, D: Kernels> Model<D> for Layers<W> {
    fn forward(&self, tape: &Tape<D>, batch: &Batch<D>) -> Vec<Var<(usize,)>> {
        let e = self.fields.embed(tape, batch);
        let experts = [Candidates::all(self.experts.forward(tape, &e))];
        let h = self.gate.mix(tape, &e, &experts);
        self.towers.iter().map(|tower| tower.forward(tape, h)).collect()
    }
}
