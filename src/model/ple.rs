//! Progressive layered extraction.

use dfdx::shapes::Dim;
use serde::{Deserialize, Serialize};

use super::{Architecture, Misfit, Model, Widths};
use crate::data::Schema;
use crate::nn::{Batch, Block, Builder, Embedded, FieldBlock, Fields, Gate, HiddenGate, Style, Tower};
use crate::registry::Describe;
use crate::tensor::op::Candidates;
use crate::tensor::{Kernels, Tape, Var};

/// Levels of shared experts and experts of each task; every task's stream is gated over its own and the shared ones, the
/// shared stream over all.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ple {
    /// Shared experts of each level.
    pub shared_experts: usize,
    /// Experts of each task and level.
    pub task_experts: usize,
    /// Levels: 1 of the first bottom width, or 2.
    pub levels: usize,
    /// Share of the units dropped after each hidden layer in training.
    pub dropout: f32,
}

impl Default for Ple {
    fn default() -> Self {
        Self { shared_experts: 4, task_experts: 4, levels: 2, dropout: 0.2 }
    }
}

impl Describe for Ple {
    const SUMMARY: &'static str = "levels of shared and task experts; a gate a task over its own and the shared ones";
    const SOURCE: &'static str = "Tang et al., RecSys 2020";
}

/// One or two levels, and the towers.
struct Layers<W: Widths> {
    fields: Fields<W::Embed>,
    first: FieldLevel<W::Bottom1>,
    rest: Rest<W>,
}

enum Rest<W: Widths> {
    Towers(Vec<Tower<W::Bottom1, W::Tower1, W::Tower2>>),
    Level(HiddenLevel<W::Bottom1, W::Bottom2>, Vec<Tower<W::Bottom2, W::Tower1, W::Tower2>>),
}

/// The experts on the fields. Every stream starts as the fields themselves, so all experts may stand in one bank; but
/// where it is the last level, a task's experts serve that task alone and are parameters of their own.
struct FieldLevel<O: Dim> {
    /// One bank with the tasks' experts in order and the shared ones behind, or one a task and one shared.
    banks: Vec<FieldBlock<O>>,
    /// Experts of each task.
    own: usize,
    task_gates: Vec<Gate>,
    /// Among the published parameters even where it is the last level's, and nothing reads it.
    shared_gate: Gate,
}

/// The experts on the streams of the level before.
struct HiddenLevel<I: Dim, O: Dim> {
    task_banks: Vec<Block<I, O>>,
    shared_bank: Block<I, O>,
    task_gates: Vec<HiddenGate<I>>,
}

/// What a level's experts make: candidates of its gates.
struct Extracted<N: Dim> {
    of_tasks: Vec<Candidates<N>>,
    shared: Candidates<N>,
}

impl<N: Dim> Extracted<N> {
    /// The candidates of a task's gate: its own experts, then the shared ones.
    fn of_task(&self, task: usize) -> [Candidates<N>; 2] {
        [self.of_tasks[task].clone(), self.shared.clone()]
    }

    /// The candidates of the shared gate: all tasks' experts in order, then the shared ones.
    fn of_all(&self) -> Vec<Candidates<N>> {
        self.of_tasks.iter().chain([&self.shared]).cloned().collect()
    }
}

impl Ple {
    /// PyTorch's names of a level's experts: (of a task, shared).
    fn names(level: usize) -> (impl Fn(usize, usize) -> String, impl Fn(usize) -> String) {
        (move |task, j| format!("task_experts.{level}.{task}.{j}"), move |j| format!("share_experts.{level}.{j}"))
    }

    fn field_level<E: Dim, O: Dim, D: Kernels>(
        &self,
        b: &mut Builder<D>,
        fields: &Fields<E>,
        tasks: usize,
        out: O,
    ) -> FieldLevel<O> {
        let style = Style::mtoreclib(self.dropout);
        let (of_task, shared) = Self::names(0);
        let (own, all) = (self.task_experts, tasks * self.task_experts);
        let banks = if self.levels > 1 {
            let name = |e: usize| if e < all { of_task(e / own, e % own) } else { shared(e - all) };
            vec![FieldBlock::new(b, &name, all + self.shared_experts, (fields, out), style)]
        } else {
            let mut banks: Vec<_> =
                (0..tasks).map(|k| FieldBlock::new(b, &|j| of_task(k, j), own, (fields, out), style)).collect();
            banks.push(FieldBlock::new(b, &shared, self.shared_experts, (fields, out), style));
            banks
        };
        let candidates = own + self.shared_experts;
        let gate = |b: &mut Builder<D>, k| Gate::new(b, &format!("task_gates.0.{k}"), fields, candidates);
        let task_gates = (0..tasks).map(|k| gate(b, k)).collect();
        let shared_gate = Gate::new(b, "share_gates.0", fields, all + self.shared_experts);
        FieldLevel { banks, own, task_gates, shared_gate }
    }

    fn hidden_level<I: Dim, O: Dim, D: Kernels>(
        &self,
        b: &mut Builder<D>,
        tasks: usize,
        (inputs, out): (I, O),
    ) -> HiddenLevel<I, O> {
        let style = Style::mtoreclib(self.dropout);
        let (of_task, shared) = Self::names(1);
        let widths = (inputs, out);
        let bank = |b: &mut Builder<D>, k| Block::new(b, &|j| of_task(k, j), 0, self.task_experts, widths, style);
        let task_banks = (0..tasks).map(|k| bank(b, k)).collect();
        let shared_bank = Block::new(b, &shared, 0, self.shared_experts, widths, style);
        let candidates = self.task_experts + self.shared_experts;
        let gate = |b: &mut Builder<D>, k| HiddenGate::new(b, &format!("task_gates.1.{k}"), inputs, candidates);
        let task_gates = (0..tasks).map(|k| gate(b, k)).collect();
        // among the published parameters although nothing reads it
        HiddenGate::new(b, "share_gates.1", inputs, tasks * self.task_experts + self.shared_experts);
        HiddenLevel { task_banks, shared_bank, task_gates }
    }
}

impl Architecture for Ple {
    const ALIASES: &'static [(&'static str, &'static str)] = &[
        ("shared_module.0", "embedding"),
        ("shared_module.1", "numerical_layer"),
        ("shared_module.2", "share_experts"),
        ("shared_module.3", "share_gates"),
        ("shared_module.4", "task_experts"),
        ("task_specific_module.0", "tower"),
        ("task_specific_module.1", "task_gates"),
    ];

    fn fits(&self) -> Result<(), Misfit> {
        Misfit::in_counts(&[
            ("shared_experts", self.shared_experts),
            ("task_experts", self.task_experts),
            ("levels", self.levels),
        ])?;
        if self.levels > 2 {
            let problem =
                format!("`levels` is {}, but only two have a width: those of the bottom in `sizes`", self.levels);
            return Err(Misfit::new("levels", problem, "give 1 or 2"));
        }
        Ok(())
    }

    fn build<W: Widths, D: Kernels>(&self, widths: W, schema: &Schema, b: &mut Builder<D>) -> Box<dyn Model<D>> {
        let (tasks, style) = (schema.tasks.len(), Style::mtoreclib(self.dropout));
        let fields = Fields::new(b, schema, widths.embed(), 0.1);
        let (first, second) = widths.bottom();
        let level = self.field_level(b, &fields, tasks, first);
        let name = |k| format!("tower.{k}");
        let rest = if self.levels == 1 {
            Rest::Towers((0..tasks).map(|k| Tower::new(b, &name(k), first, widths.tower(), style)).collect())
        } else {
            let level = self.hidden_level(b, tasks, (first, second));
            let towers = (0..tasks).map(|k| Tower::new(b, &name(k), second, widths.tower(), style)).collect();
            Rest::Level(level, towers)
        };
        Box::new(Layers::<W> { fields, first: level, rest })
    }
}

impl<O: Dim> FieldLevel<O> {
    fn extract<E: Dim, D: Kernels>(&self, tape: &Tape<D>, e: &Embedded<E, D>) -> Extracted<O> {
        let outputs: Vec<_> = self.banks.iter().map(|bank| bank.forward(tape, e)).collect();
        let (tasks, own) = (self.task_gates.len(), self.own);
        match outputs[..] {
            [bank] => Extracted {
                of_tasks: (0..tasks).map(|k| Candidates::some(bank, k * own..(k + 1) * own)).collect(),
                shared: Candidates::some(bank, tasks * own..bank.shape.0),
            },
            _ => Extracted {
                of_tasks: outputs[..tasks].iter().map(|bank| Candidates::all(*bank)).collect(),
                shared: Candidates::all(outputs[tasks]),
            },
        }
    }
}

impl<I: Dim, O: Dim> HiddenLevel<I, O> {
    /// The tasks' streams after this level.
    fn forward<D: Kernels>(
        &self,
        tape: &Tape<D>,
        streams: &[Var<(usize, I)>],
        shared: Var<(usize, I)>,
    ) -> Vec<Var<(usize, O)>> {
        let of_task = |(bank, x): (&Block<I, O>, &Var<(usize, I)>)| Candidates::all(bank.forward_shared(tape, *x));
        let extracted = Extracted {
            of_tasks: self.task_banks.iter().zip(streams).map(of_task).collect(),
            shared: Candidates::all(self.shared_bank.forward_shared(tape, shared)),
        };
        let gates = self.task_gates.iter().zip(streams).enumerate();
        gates.map(|(k, (gate, x))| gate.mix(tape, *x, &extracted.of_task(k))).collect()
    }
}

impl<W: Widths, D: Kernels> Model<D> for Layers<W> {
    fn forward(&self, tape: &Tape<D>, batch: &Batch<D>) -> Vec<Var<(usize,)>> {
        let e = self.fields.embed(tape, batch);
        let extracted = self.first.extract(tape, &e);
        let gates = self.first.task_gates.iter().enumerate();
        let streams: Vec<_> = gates.map(|(k, gate)| gate.mix(tape, &e, &extracted.of_task(k))).collect();
        match &self.rest {
            Rest::Towers(towers) => towers.iter().zip(streams).map(|(tower, t)| tower.forward(tape, t)).collect(),
            Rest::Level(level, towers) => {
                let shared = self.first.shared_gate.mix(tape, &e, &extracted.of_all());
                let streams = level.forward(tape, &streams, shared);
                towers.iter().zip(streams).map(|(tower, t)| tower.forward(tape, t)).collect()
            }
        }
    }
}
