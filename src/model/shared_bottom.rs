//! Shared-bottom network.

use serde::{Deserialize, Serialize};

use super::{Architecture, Model, Widths};
use crate::data::Schema;
use crate::nn::{Batch, Bottom, Builder, Fields, Style, Tower};
use crate::registry::Describe;
use crate::tensor::{Kernels, Tape, Var};

/// One bottom network for all tasks, a tower for each.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SharedBottom {
    /// Share of the units dropped after each hidden layer in training.
    pub dropout: f32,
}

impl Default for SharedBottom {
    fn default() -> Self {
        Self { dropout: 0.2 }
    }
}

impl Describe for SharedBottom {
    const SUMMARY: &'static str = "one bottom network shared by all tasks, a tower for each";
    const SOURCE: &'static str = "Caruana, Machine Learning 1997";
}

/// `h = bottom(e)`, `logit_k = tower_k(h)`.
struct Layers<W: Widths> {
    fields: Fields<W::Embed>,
    bottom: Bottom<W::Bottom1, W::Bottom2>,
    towers: Vec<Tower<W::Bottom2, W::Tower1, W::Tower2>>,
}

impl Architecture for SharedBottom {
    const ALIASES: &'static [(&'static str, &'static str)] = &[
        ("shared_module.0", "embedding"),
        ("shared_module.1", "bottom"),
        ("shared_module.2", "numerical_layer"),
        ("task_specific_module.0", "tower"),
    ];

    fn build<W: Widths, D: Kernels>(&self, widths: W, schema: &Schema, b: &mut Builder<D>) -> Box<dyn Model<D>> {
        let style = Style::mtoreclib(self.dropout);
        let fields = Fields::new(b, schema, widths.embed(), 1.0);
        let (_, hidden) = widths.bottom();
        let bottom = Bottom::new(b, "bottom", &fields, widths.bottom(), style);
        let tower = |k| Tower::new(b, &format!("tower.{k}"), hidden, widths.tower(), style);
        let towers = (0..schema.tasks.len()).map(tower).collect();
        Box::new(Layers::<W> { fields, bottom, towers })
    }
}

impl<W: Widths, D: Kernels> Model<D> for Layers<W> {
    fn forward(&self, tape: &Tape<D>, batch: &Batch<D>) -> Vec<Var<(usize,)>> {
        let e = self.fields.embed(tape, batch);
        let h = self.bottom.forward(tape, &e);
        self.towers.iter().map(|tower| tower.forward(tape, h)).collect()
    }
}
