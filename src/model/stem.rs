//! Shared and task-specific embeddings.

use serde::{Deserialize, Serialize};

use super::{Architecture, Misfit, Model, Widths};
use crate::data::Schema;
use crate::nn::{Batch, Block, Builder, Embedded, FieldBlock, Fields, Maps, Style, TorchPart, Tower, xavier};
use crate::registry::Describe;
use crate::tensor::op::{Candidates, mix, relu_dropout, softmax};
use crate::tensor::{Kernels, Tape, Var};

/// An embedding of its own for each task beside a shared one, experts on each; a task's gate weighs all experts, but the
/// gradient into other tasks' experts is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stem {
    /// Experts on the shared embedding.
    pub shared_experts: usize,
    /// Experts on each task's embedding.
    pub task_experts: usize,
    /// Share of the units dropped after each hidden layer in training.
    pub dropout: f32,
    /// As in MTOReclib: ReLU and dropout on the gates' logits too. The authors' gates end in a linear layer.
    pub reference_gate: bool,
}

impl Default for Stem {
    fn default() -> Self {
        Self { shared_experts: 4, task_experts: 4, dropout: 0.2, reference_gate: false }
    }
}

impl Describe for Stem {
    const SUMMARY: &'static str =
        "an embedding a task and a shared one; gates over all experts, gradients stopped between tasks";
    const SOURCE: &'static str = "Su et al., AAAI 2024";
}

/// `x_k ← Σ gate_k(x_k + x_S)·[experts of all tasks, shared experts]`, `logit_k = tower_k(x_k)`.
struct Layers<W: Widths> {
    /// One embedding a task, the shared one last.
    fields: Vec<Fields<W::Embed>>,
    /// One bank a task, the shared one last.
    experts: Vec<Experts<W>>,
    gates: Vec<Gate<W>>,
    towers: Vec<Tower<W::Tower1, W::Tower1, W::Tower2>>,
}

/// Three hidden layers on the fields, the last as wide as a tower's first.
struct Experts<W: Widths> {
    first: FieldBlock<W::Bottom1>,
    second: Block<W::Bottom1, W::Bottom2>,
    third: Block<W::Bottom2, W::Tower1>,
}

/// Two hidden layers on the fields and a linear one.
struct Gate<W: Widths> {
    first: FieldBlock<W::Tower1>,
    second: Block<W::Tower1, W::Tower2>,
    last: Maps<W::Tower2, usize>,
    /// ReLU and dropout on the logits.
    reference: Option<f32>,
}

impl<W: Widths> Experts<W> {
    fn new<D: Kernels>(
        b: &mut Builder<D>,
        name: &dyn Fn(usize) -> String,
        count: usize,
        fields: &Fields<W::Embed>,
        widths: W,
        style: Style,
    ) -> Self {
        let ((first, second), (third, _)) = (widths.bottom(), widths.tower());
        Self {
            first: FieldBlock::new(b, name, count, (fields, first), style),
            second: Block::new(b, name, 1, count, (first, second), style),
            third: Block::new(b, name, 2, count, (second, third), style),
        }
    }

    fn forward<D: Kernels>(&self, tape: &Tape<D>, e: &Embedded<W::Embed, D>) -> Var<(usize, usize, W::Tower1)> {
        self.third.forward(tape, self.second.forward(tape, self.first.forward(tape, e)))
    }
}

impl<W: Widths> Gate<W> {
    fn new<D: Kernels>(
        b: &mut Builder<D>,
        name: &str,
        candidates: usize,
        fields: &Fields<W::Embed>,
        widths: W,
        (style, reference): (Style, bool),
    ) -> Self {
        let (first, second) = widths.tower();
        let mlp = |_: usize| name.to_owned();
        let last = format!("{name}.mlp.{}", style.index(2));
        Self {
            first: FieldBlock::new(b, &mlp, 1, (fields, first), style),
            second: Block::new(b, &mlp, 1, 1, (first, second), style),
            last: Maps::new(b, &|_| last.clone(), 1, (second, candidates)),
            reference: reference.then_some(style.dropout),
        }
    }

    fn forward<D: Kernels>(&self, tape: &Tape<D>, e: &Embedded<W::Embed, D>) -> Var<(usize, usize)> {
        let hidden = self.second.forward(tape, self.first.forward(tape, e));
        let logits = self.last.forward(tape, hidden).ungrouped();
        softmax(tape, self.reference.map_or(logits, |dropout| relu_dropout(tape, logits, dropout)))
    }
}

impl Stem {
    /// One embedding a task and a shared one; PyTorch keeps them side by side in one table and one `Linear`.
    fn fields<W: Widths, D: Kernels>(b: &mut Builder<D>, widths: W, schema: &Schema) -> Vec<Fields<W::Embed>> {
        let (width, slices) = (widths.embed(), schema.tasks.len() + 1);
        let d = dfdx::shapes::Dim::size(&width);
        let bound = xavier(0.1, schema.vocabulary(), slices * d);
        let fields: Vec<_> = (0..slices)
            .map(|k| {
                let names = (format!("embedding_layer.{k}"), format!("numerical_layer.{k}"));
                Fields::unlisted(b, schema, width, bound, (&names.0, &names.1))
            })
            .collect();
        let columns = schema.numerical.len();
        let parts = |param: &dyn Fn(&Fields<W::Embed>) -> crate::tensor::ParamId, strides: &[usize]| {
            let part = |fields| TorchPart { param: param(fields), offset: 0, strides: strides.to_vec() };
            fields.iter().map(part).collect::<Vec<_>>()
        };
        let table = "embedding_layer.embedding.weight".to_owned();
        b.torch_parts(table, vec![schema.vocabulary(), slices * d], 1, parts(&|f| f.table, &[d, 1]));
        if columns > 0 {
            let weight = "numerical_layer.weight".to_owned();
            b.torch_parts(weight, vec![slices * d, columns], 0, parts(&|f| f.token[0], &[1, d]));
            b.torch_parts("numerical_layer.bias".to_owned(), vec![slices * d], 0, parts(&|f| f.token[1], &[1]));
        }
        fields
    }
}

impl Architecture for Stem {
    fn fits(&self) -> Result<(), Misfit> {
        Misfit::in_counts(&[("shared_experts", self.shared_experts), ("task_experts", self.task_experts)])
    }

    fn build<W: Widths, D: Kernels>(&self, widths: W, schema: &Schema, b: &mut Builder<D>) -> Box<dyn Model<D>> {
        let (tasks, style) = (schema.tasks.len(), Style::plain(self.dropout));
        let fields = Self::fields(b, widths, schema);
        let mut experts = Vec::with_capacity(tasks + 1);
        for (k, fields) in fields[..tasks].iter().enumerate() {
            let name = |j| format!("stem_layers.0.specific_experts.{k}.{j}");
            experts.push(Experts::new(b, &name, self.task_experts, fields, widths, style));
        }
        let name = |j| format!("stem_layers.0.shared_experts.{j}");
        experts.push(Experts::new(b, &name, self.shared_experts, &fields[tasks], widths, style));
        let candidates = tasks * self.task_experts + self.shared_experts;
        // the shared stream's gate is among the published parameters although nothing reads it after the last layer
        let mut gates: Vec<Gate<W>> = (0..=tasks)
            .map(|k| {
                let name = format!("stem_layers.0.gate.{k}");
                Gate::new(b, &name, candidates, &fields[k], widths, (style, self.reference_gate))
            })
            .collect();
        gates.truncate(tasks);
        let (hidden, _) = widths.tower();
        let tower = |k| Tower::new(b, &format!("tower.{k}"), hidden, widths.tower(), style);
        let towers = (0..tasks).map(tower).collect();
        Box::new(Layers::<W> { fields, experts, gates, towers })
    }
}

impl<W: Widths, D: Kernels> Model<D> for Layers<W> {
    fn forward(&self, tape: &Tape<D>, batch: &Batch<D>) -> Vec<Var<(usize,)>> {
        let embedded: Vec<_> = self.fields.iter().map(|fields| fields.embed(tape, batch)).collect();
        let banks: Vec<_> = self.experts.iter().zip(&embedded).map(|(bank, e)| bank.forward(tape, e)).collect();
        let tasks = self.towers.len();
        let shared = &embedded[tasks];
        let stream = |k: usize| {
            let candidates: Vec<_> = banks
                .iter()
                .enumerate()
                .map(|(j, bank)| match Candidates::all(*bank) {
                    candidates if j == k || j == tasks => candidates,
                    others => others.stopped(),
                })
                .collect();
            let gate = self.gates[k].forward(tape, &embedded[k].plus(tape, shared));
            mix(tape, gate, &candidates)
        };
        self.towers.iter().enumerate().map(|(k, tower)| tower.forward(tape, stream(k))).collect()
    }
}
