//! Adaptive information transfer multi-task network.

use serde::{Deserialize, Serialize};

use super::{Architecture, Model, Widths};
use crate::data::Schema;
use crate::nn::{Batch, Bottom, Builder, Fields, Maps, Style, Tower};
use crate::registry::Describe;
use crate::tensor::op::{Candidates, mix, row_dots, softmax, stack};
use crate::tensor::{Kernels, Tape, Var};

/// A bottom network a task; what one task has learned is transferred to the next by attention over two slots. The tasks
/// must be in the order of the funnel: click, then conversion.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Aitm {
    /// Share of the units dropped after each hidden layer in training.
    pub dropout: f32,
}

impl Default for Aitm {
    fn default() -> Self {
        Self { dropout: 0.2 }
    }
}

impl Describe for Aitm {
    const SUMMARY: &'static str =
        "a bottom network a task; each task's features attend to the task before in the funnel";
    const SOURCE: &'static str = "Xi et al., KDD 2021";
}

/// `z_1 = f_1`, `z_k = attention([transfer_k(z_{k−1}); f_k])`, `logit_k = tower_k(z_k)`.
struct Layers<W: Widths> {
    fields: Fields<W::Embed>,
    bottoms: Vec<Bottom<W::Bottom1, W::Bottom2>>,
    transfers: Vec<Maps<W::Bottom2, W::Bottom2>>,
    /// Value, key and query, the same for all tasks.
    attention: [Maps<W::Bottom2, W::Bottom2>; 3],
    towers: Vec<Tower<W::Bottom2, W::Tower1, W::Tower2>>,
}

impl Architecture for Aitm {
    fn build<W: Widths, D: Kernels>(&self, widths: W, schema: &Schema, b: &mut Builder<D>) -> Box<dyn Model<D>> {
        let (tasks, style) = (schema.tasks.len(), Style::mtoreclib(self.dropout));
        let fields = Fields::new(b, schema, widths.embed(), 1.0);
        let (_, hidden) = widths.bottom();
        let bottoms =
            (0..tasks).map(|k| Bottom::new(b, &format!("bottom.{k}"), &fields, widths.bottom(), style)).collect();
        let mut square = |name: String| Maps::new(b, &|_| name.clone(), 1, (hidden, hidden));
        let transfers = (1..tasks).map(|k| square(format!("g.{}", k - 1))).collect();
        let attention = [1, 2, 3].map(|i| square(format!("h{i}")));
        let tower = |k| Tower::new(b, &format!("tower.{k}"), hidden, widths.tower(), style);
        let towers = (0..tasks).map(tower).collect();
        b.torch_constant("dividend", root(hidden));
        Box::new(Layers::<W> { fields, bottoms, transfers, attention, towers })
    }
}

/// `√h`, by which scores are divided.
fn root(hidden: impl dfdx::shapes::Dim) -> f32 {
    (hidden.size() as f32).sqrt()
}

impl<W: Widths> Layers<W> {
    /// `Σ_s softmax(⟨K_s, Q_s⟩/√h)_s·V_s` over two slots.
    fn attend<D: Kernels>(&self, tape: &Tape<D>, slots: [Var<(usize, W::Bottom2)>; 2]) -> Var<(usize, W::Bottom2)> {
        let hidden = slots[0].shape.1;
        let rows = stack(tape, &slots).ungrouped();
        let map =
            |maps: &Maps<W::Bottom2, W::Bottom2>| maps.forward_shared(tape, rows).ungrouped().in_groups(slots.len());
        let [value, key, query] = self.attention.each_ref().map(map);
        let weights = softmax(tape, row_dots(tape, key, query, 1.0 / root(hidden)));
        mix(tape, weights, &[Candidates::all(value)])
    }
}

impl<W: Widths, D: Kernels> Model<D> for Layers<W> {
    fn forward(&self, tape: &Tape<D>, batch: &Batch<D>) -> Vec<Var<(usize,)>> {
        let e = self.fields.embed(tape, batch);
        let mut logits = Vec::with_capacity(self.towers.len());
        let mut before = None;
        for (k, (bottom, tower)) in self.bottoms.iter().zip(&self.towers).enumerate() {
            let own = bottom.forward(tape, &e);
            let z = match before {
                None => own,
                Some(z) => {
                    let transferred = self.transfers[k - 1].forward_shared(tape, z).ungrouped();
                    self.attend(tape, [transferred, own])
                }
            };
            logits.push(tower.forward(tape, z));
            before = Some(z);
        }
        logits
    }
}
