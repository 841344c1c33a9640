//! One network a task, nothing shared.

use serde::{Deserialize, Serialize};

use super::{Architecture, Model, Widths};
use crate::data::Schema;
use crate::nn::{Batch, Bottom, Builder, Fields, Style, Tower};
use crate::registry::Describe;
use crate::tensor::{Kernels, Tape, Var};

/// An embedding, a bottom network and a tower of its own for each task: the baseline of every comparison.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SingleTask {
    /// Share of the units dropped after each hidden layer in training.
    pub dropout: f32,
}

impl Default for SingleTask {
    fn default() -> Self {
        Self { dropout: 0.2 }
    }
}

impl Describe for SingleTask {
    const SUMMARY: &'static str = "a network of its own for each task, nothing shared";
    const SOURCE: &'static str = "";
}

/// `logit_k = tower_k(bottom_k(e_k))`.
struct Layers<W: Widths> {
    tasks: Vec<Alone<W>>,
}

struct Alone<W: Widths> {
    fields: Fields<W::Embed>,
    bottom: Bottom<W::Bottom1, W::Bottom2>,
    tower: Tower<W::Bottom2, W::Tower1, W::Tower2>,
}

impl Architecture for SingleTask {
    fn build<W: Widths, D: Kernels>(&self, widths: W, schema: &Schema, b: &mut Builder<D>) -> Box<dyn Model<D>> {
        let style = Style::mtoreclib(self.dropout);
        let (_, hidden) = widths.bottom();
        let tasks = (0..schema.tasks.len()).map(|k| {
            let names = (format!("embedding.{k}.embedding.weight"), format!("numerical_layer.{k}"));
            let fields = Fields::named(b, schema, widths.embed(), 0.1, &names.0, &names.1);
            let bottom = Bottom::new(b, &format!("bottom.{k}"), &fields, widths.bottom(), style);
            let tower = Tower::new(b, &format!("tower.{k}"), hidden, widths.tower(), style);
            Alone { fields, bottom, tower }
        });
        Box::new(Layers::<W> { tasks: tasks.collect() })
    }
}

impl<W: Widths, D: Kernels> Model<D> for Layers<W> {
    fn forward(&self, tape: &Tape<D>, batch: &Batch<D>) -> Vec<Var<(usize,)>> {
        let logits = |task: &Alone<W>| {
            let e = task.fields.embed(tape, batch);
            task.tower.forward(tape, task.bottom.forward(tape, &e))
        };
        self.tasks.iter().map(logits).collect()
    }
}
