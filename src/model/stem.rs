//! Shared and task-specific embeddings.

use dfdx::shapes::Dim;
use serde::{Deserialize, Serialize};

use super::{Architecture, Misfit, Model, Widths};
use crate::data::Schema;
use crate::nn::{Batch, Block, Builder, Embedded, FieldBlock, Fields, Maps, Style, TorchPart, Tower, xavier};
use crate::registry::Describe;
use crate::tensor::op::{Candidates, add, mix, relu_dropout, softmax};
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
    /// Layers of experts and gates. Those behind the first read what comes out of the one before.
    pub layers: usize,
    /// Share of the units dropped after each hidden layer in training.
    pub dropout: f32,
    /// As in MTOReclib: ReLU and dropout on the gates' logits too. The authors' gates end in a linear layer.
    pub reference_gate: bool,
}

impl Default for Stem {
    fn default() -> Self {
        Self { shared_experts: 4, task_experts: 4, layers: 1, dropout: 0.2, reference_gate: false }
    }
}

impl Describe for Stem {
    const SUMMARY: &'static str =
        "an embedding a task and a shared one; gates over all experts, gradients stopped between tasks";
    const SOURCE: &'static str = "Su et al., AAAI 2024";
}

/// `x_k ← Σ gate_k(x_k + x_S)·[experts of all tasks, shared experts]` in each layer, and between layers
/// `x_S ← Σ gate_S(x_S)·[the same]`; `logit_k = tower_k(x_k)`.
struct Layers<W: Widths> {
    /// One embedding a task, the shared one last.
    fields: Vec<Fields<W::Embed>>,
    first: Layer<W, FieldBlock<W::Bottom1>, FieldBlock<W::Tower1>>,
    rest: Vec<HiddenLayer<W>>,
    towers: Vec<Tower<W::Tower1, W::Tower1, W::Tower2>>,
}

/// A layer on the streams of the one before.
type HiddenLayer<W> =
    Layer<W, Block<<W as Widths>::Tower1, <W as Widths>::Bottom1>, Block<<W as Widths>::Tower1, <W as Widths>::Tower1>>;

/// Experts and gates on the streams, one of each a task and the shared one last. `E` and `G` are their first hidden layers.
struct Layer<W: Widths, E, G> {
    experts: Vec<Experts<W, E>>,
    /// The shared stream's is among the published parameters even in the last layer, where nothing reads it.
    gates: Vec<Gate<W, G>>,
}

/// Three hidden layers, the last as wide as a tower's first.
struct Experts<W: Widths, E> {
    first: E,
    second: Block<W::Bottom1, W::Bottom2>,
    third: Block<W::Bottom2, W::Tower1>,
}

/// Two hidden layers and a linear one.
struct Gate<W: Widths, G> {
    first: G,
    second: Block<W::Tower1, W::Tower2>,
    last: Maps<W::Tower2, usize>,
    /// ReLU and dropout on the logits.
    reference: Option<f32>,
}

/// What flows through the layers: the fields, then hidden units.
trait Stream<D: Kernels> {
    fn plus(&self, tape: &Tape<D>, other: &Self) -> Self;
}

/// A hidden layer on a stream.
trait Reads<X, O: Dim, D: Kernels> {
    fn read(&self, tape: &Tape<D>, stream: &X) -> Var<(usize, usize, O)>;
}

impl<E: Dim, D: Kernels> Stream<D> for Embedded<E, D> {
    fn plus(&self, tape: &Tape<D>, other: &Self) -> Self {
        Embedded::plus(self, tape, other)
    }
}

impl<N: Dim, D: Kernels> Stream<D> for Var<(usize, N)> {
    fn plus(&self, tape: &Tape<D>, other: &Self) -> Self {
        add(tape, *self, *other)
    }
}

impl<E: Dim, O: Dim, D: Kernels> Reads<Embedded<E, D>, O, D> for FieldBlock<O> {
    fn read(&self, tape: &Tape<D>, stream: &Embedded<E, D>) -> Var<(usize, usize, O)> {
        self.forward(tape, stream)
    }
}

impl<I: Dim, O: Dim, D: Kernels> Reads<Var<(usize, I)>, O, D> for Block<I, O> {
    fn read(&self, tape: &Tape<D>, stream: &Var<(usize, I)>) -> Var<(usize, usize, O)> {
        self.forward_shared(tape, *stream)
    }
}

/// PyTorch's MLPs of a bank.
type Names<'a> = &'a dyn Fn(usize) -> String;

impl<W: Widths, E, G> Layer<W, E, G> {
    /// `expert` and `gate` make the first hidden layers of a bank on a stream, given the bank's names and its size.
    fn new<D: Kernels>(
        b: &mut Builder<D>,
        stem: &Stem,
        (layer, tasks): (usize, usize),
        widths: W,
        expert: impl Fn(&mut Builder<D>, Names, usize, usize) -> E,
        gate: impl Fn(&mut Builder<D>, Names, usize) -> G,
    ) -> Self {
        let (style, module) = (Style::plain(stem.dropout), format!("stem_layers.{layer}"));
        let ((first, second), (third, narrow)) = (widths.bottom(), widths.tower());
        let mut bank = |name: Names, stream: usize, count: usize| Experts {
            first: expert(b, name, stream, count),
            second: Block::new(b, name, 1, count, (first, second), style),
            third: Block::new(b, name, 2, count, (second, third), style),
        };
        let own = (0..tasks)
            .map(|k| bank(&|j| format!("{module}.specific_experts.{k}.{j}"), k, stem.task_experts))
            .collect::<Vec<_>>();
        let shared = bank(&|j| format!("{module}.shared_experts.{j}"), tasks, stem.shared_experts);
        let candidates = tasks * stem.task_experts + stem.shared_experts;
        let gates = (0..=tasks).map(|k| {
            let name = |_: usize| format!("{module}.gate.{k}");
            let last = format!("{}.mlp.{}", name(0), style.index(2));
            Gate {
                first: gate(b, &name, k),
                second: Block::new(b, &name, 1, 1, (third, narrow), style),
                last: Maps::new(b, &|_| last.clone(), 1, (narrow, candidates)),
                reference: stem.reference_gate.then_some(style.dropout),
            }
        });
        Self { gates: gates.collect(), experts: own.into_iter().chain([shared]).collect() }
    }

    /// Runs the experts on the streams.
    fn extract<'a, X, D: Kernels>(&'a self, tape: &Tape<D>, streams: &'a [X]) -> Extracted<'a, W, E, G, X>
    where
        E: Reads<X, W::Bottom1, D>,
    {
        let forward = |(bank, x): (&Experts<W, E>, &X)| {
            bank.third.forward(tape, bank.second.forward(tape, bank.first.read(tape, x)))
        };
        Extracted { layer: self, streams, banks: self.experts.iter().zip(streams).map(forward).collect() }
    }
}

impl<W: Widths, G> Gate<W, G> {
    fn forward<X, D: Kernels>(&self, tape: &Tape<D>, x: &X) -> Var<(usize, usize)>
    where
        G: Reads<X, W::Tower1, D>,
    {
        let hidden = self.second.forward(tape, self.first.read(tape, x));
        let logits = self.last.forward(tape, hidden).ungrouped();
        softmax(tape, self.reference.map_or(logits, |dropout| relu_dropout(tape, logits, dropout)))
    }
}

/// A layer's experts run on its streams: what its gates choose from.
struct Extracted<'a, W: Widths, E, G, X> {
    layer: &'a Layer<W, E, G>,
    streams: &'a [X],
    banks: Vec<Var<(usize, usize, W::Tower1)>>,
}

impl<W: Widths, E, G, X> Extracted<'_, W, E, G, X> {
    fn tasks(&self) -> usize {
        self.streams.len() - 1
    }

    /// A task's stream behind the layer. Its gate trains no other task's experts.
    fn of_task<D: Kernels>(&self, tape: &Tape<D>, task: usize) -> Var<(usize, W::Tower1)>
    where
        G: Reads<X, W::Tower1, D>,
        X: Stream<D>,
    {
        let candidate = |(j, bank): (usize, &Var<_>)| match Candidates::all(*bank) {
            candidates if j == task || j == self.tasks() => candidates,
            others => others.stopped(),
        };
        let candidates: Vec<_> = self.banks.iter().enumerate().map(candidate).collect();
        let x = self.streams[task].plus(tape, &self.streams[self.tasks()]);
        mix(tape, self.layer.gates[task].forward(tape, &x), &candidates)
    }

    /// Every task's stream behind the layer and the shared one, whose gate trains all experts.
    fn of_all<D: Kernels>(&self, tape: &Tape<D>) -> Vec<Var<(usize, W::Tower1)>>
    where
        G: Reads<X, W::Tower1, D>,
        X: Stream<D>,
    {
        let mut streams: Vec<_> = (0..self.tasks()).map(|task| self.of_task(tape, task)).collect();
        let candidates: Vec<_> = self.banks.iter().map(|bank| Candidates::all(*bank)).collect();
        let gate = self.layer.gates[self.tasks()].forward(tape, &self.streams[self.tasks()]);
        streams.push(mix(tape, gate, &candidates));
        streams
    }
}

impl Stem {
    /// One embedding a task and a shared one; PyTorch keeps them side by side in one table and one `Linear`.
    fn fields<W: Widths, D: Kernels>(b: &mut Builder<D>, widths: W, schema: &Schema) -> Vec<Fields<W::Embed>> {
        let (width, slices) = (widths.embed(), schema.tasks.len() + 1);
        let d = width.size();
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
        Misfit::in_counts(&[
            ("shared_experts", self.shared_experts),
            ("task_experts", self.task_experts),
            ("layers", self.layers),
        ])
    }

    fn build<W: Widths, D: Kernels>(&self, widths: W, schema: &Schema, b: &mut Builder<D>) -> Box<dyn Model<D>> {
        let (tasks, style) = (schema.tasks.len(), Style::plain(self.dropout));
        let fields = Self::fields(b, widths, schema);
        let ((wide, _), (hidden, _)) = (widths.bottom(), widths.tower());
        let first = Layer::new(
            b,
            self,
            (0, tasks),
            widths,
            |b, name, stream, count| FieldBlock::new(b, name, count, (&fields[stream], wide), style),
            |b, name, stream| FieldBlock::new(b, name, 1, (&fields[stream], hidden), style),
        );
        let layer = |layer| {
            Layer::new(
                b,
                self,
                (layer, tasks),
                widths,
                |b, name, _, count| Block::new(b, name, 0, count, (hidden, wide), style),
                |b, name, _| Block::new(b, name, 0, 1, (hidden, hidden), style),
            )
        };
        let rest = (1..self.layers).map(layer).collect();
        let tower = |k| Tower::new(b, &format!("tower.{k}"), hidden, widths.tower(), style);
        let towers = (0..tasks).map(tower).collect();
        Box::new(Layers::<W> { fields, first, rest, towers })
    }
}

impl<W: Widths, D: Kernels> Model<D> for Layers<W> {
    fn forward(&self, tape: &Tape<D>, batch: &Batch<D>) -> Vec<Var<(usize,)>> {
        let embedded: Vec<_> = self.fields.iter().map(|fields| fields.embed(tape, batch)).collect();
        let first = self.first.extract(tape, &embedded);
        let towers = self.towers.iter().enumerate();
        let Some((last, middle)) = self.rest.split_last() else {
            return towers.map(|(k, tower)| tower.forward(tape, first.of_task(tape, k))).collect();
        };
        let next = |streams: Vec<_>, layer: &HiddenLayer<W>| layer.extract(tape, &streams).of_all(tape);
        let streams = middle.iter().fold(first.of_all(tape), next);
        let last = last.extract(tape, &streams);
        towers.map(|(k, tower)| tower.forward(tape, last.of_task(tape, k))).collect()
    }
}
