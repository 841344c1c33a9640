//! Entire-space multi-task model.

use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use super::{Architecture, Model, Widths};
use crate::data::Schema;
use crate::nn::{Batch, Bottom, Builder, Fields, Style, Tower};
use crate::registry::Describe;
use crate::tensor::op::product_logits;
use crate::tensor::{Kernels, Tape, Var};

/// A click network and a conversion-after-click network on one embedding; the second task is their product, the
/// probability of click and conversion.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Esmm {
    /// Share of the units dropped after each hidden layer in training.
    pub dropout: f32,
}

impl Default for Esmm {
    fn default() -> Self {
        Self { dropout: 0.2 }
    }
}

impl Describe for Esmm {
    const SUMMARY: &'static str = "two networks on one embedding; P(click and conversion) is the product of theirs";
    const SOURCE: &'static str = "Ma et al., SIGIR 2018";
}

/// `t_i = tower_i(bottom_i(e))`; the tasks are `σ(t_1)` and `σ(t_1)·σ(t_2)`.
struct Layers<W: Widths> {
    fields: Fields<W::Embed>,
    heads: [Head<W>; 2],
}

struct Head<W: Widths> {
    bottom: Bottom<W::Bottom1, W::Bottom2>,
    tower: Tower<W::Bottom2, W::Tower1, W::Tower2>,
}

impl Architecture for Esmm {
    /// A click and a conversion that needs the click.
    const TASKS: RangeInclusive<usize> = 2..=2;

    fn build<W: Widths, D: Kernels>(&self, widths: W, schema: &Schema, b: &mut Builder<D>) -> Box<dyn Model<D>> {
        let style = Style::mtoreclib(self.dropout);
        let fields = Fields::new(b, schema, widths.embed(), 1.0);
        let (_, hidden) = widths.bottom();
        let heads = [0, 1].map(|i| Head {
            bottom: Bottom::new(b, &format!("bottom.{i}"), &fields, widths.bottom(), style),
            tower: Tower::new(b, &format!("tower.{i}"), hidden, widths.tower(), style),
        });
        Box::new(Layers::<W> { fields, heads })
    }
}

impl<W: Widths, D: Kernels> Model<D> for Layers<W> {
    fn forward(&self, tape: &Tape<D>, batch: &Batch<D>) -> Vec<Var<(usize,)>> {
        let e = self.fields.embed(tape, batch);
        let [click, conversion] =
            self.heads.each_ref().map(|head| head.tower.forward(tape, head.bottom.forward(tape, &e)));
        vec![click, product_logits(tape, click, conversion)]
    }
}
