//! Fine-grained sparse experts.

use dfdx::shapes::Dim;
use serde::{Deserialize, Serialize};

use super::{Architecture, Misfit, Model, Widths};
use crate::data::Schema;
use crate::nn::{Batch, Builder, Fields, MoeBlock, MoeConfig, Projection, Style, Tower};
use crate::registry::Describe;
use crate::tensor::kernels::RouteRule;
use crate::tensor::{Kernels, Tape, Var};

/// Many small experts of which each sample takes a few, beside one that all samples take; a tower for each task. The
/// mixture of experts of DeepSeek's language models as a recommender.
///
/// A linear map brings the fields to the width of the last bottom layer; residual blocks of experts follow, whose experts
/// are as wide as the first tower layer. Experts are kept equally busy without an auxiliary loss: each router has a
/// correction bias that enters the choice of experts only and moves by `balance_rate` a training step towards the experts
/// that got too few samples.
///
/// Nobody else has this model, so the names in its checkpoints are ours, with PyTorch's layouts (outputs × inputs):
/// `input.weight` and `.bias`; for block i `blocks.i.norm.weight`; `blocks.i.router.weight` and, the correction bias,
/// `blocks.i.router.bias` (`blocks.i.router.k.weight`, ... for task k if every task has a router);
/// `blocks.i.experts.j.gate.weight`, `.up.weight` and `.down.weight` for routed expert j; the same under
/// `blocks.i.shared`; embedding, numerical layer and towers as in the other models.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DsMoe {
    /// Routed experts of a block.
    pub experts: usize,
    /// Experts that a sample takes.
    pub top_k: usize,
    /// Width of the shared expert, in routed experts; 0 for none.
    pub n_shared: usize,
    /// Residual blocks.
    pub blocks: usize,
    /// Contiguous groups that the experts form; 1 is no limit.
    pub n_group: usize,
    /// Groups that a sample's experts may come from: those with the largest sums of their two best scores.
    pub topk_group: usize,
    /// Divide a sample's gate values by their sum.
    pub norm_topk: bool,
    /// Factor on the gate values.
    pub routed_scaling: f32,
    /// How far correction biases move a step.
    pub balance_rate: f32,
    /// Who chooses experts.
    pub router: Router,
    /// Share of the units dropped after each hidden layer of the towers in training.
    pub dropout: f32,
}

/// Who chooses experts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Router {
    /// One router for all tasks.
    #[default]
    Single,
    /// A router for each task, over the same experts: a multi-gate mixture with sparse gates.
    PerTask,
}

impl Default for DsMoe {
    fn default() -> Self {
        Self {
            experts: 32,
            top_k: 8,
            n_shared: 2,
            blocks: 1,
            n_group: 1,
            topk_group: 1,
            norm_topk: true,
            routed_scaling: 1.0,
            balance_rate: 1e-3,
            router: Router::Single,
            dropout: 0.2,
        }
    }
}

impl Describe for DsMoe {
    const SUMMARY: &'static str =
        "many small experts of which each sample takes a few, kept busy without an auxiliary loss";
    const SOURCE: &'static str = "Dai et al., 2024; DeepSeek-AI, 2024; Wang et al., 2024";
}

/// `h = W·e + b`, `h ← h + MoE(RMSNorm(h))` for each block, `logit_k = tower_k(h)`.
struct Layers<W: Widths> {
    fields: Fields<W::Embed>,
    input: Projection<W::Bottom2>,
    blocks: Vec<MoeBlock<W::Bottom2>>,
    towers: Vec<Tower<W::Bottom2, W::Tower1, W::Tower2>>,
}

impl DsMoe {
    fn config(&self, hidden: usize, tasks: usize) -> MoeConfig {
        let rule = RouteRule {
            experts: self.experts,
            top_k: self.top_k,
            groups: self.n_group,
            groups_kept: self.topk_group,
            normalise: self.norm_topk,
            scaling: self.routed_scaling,
        };
        let routers = (self.router == Router::PerTask).then_some(tasks);
        MoeConfig { rule, rate: self.balance_rate, hidden, shared: self.n_shared * hidden, routers }
    }

    fn groups_fit(&self) -> Result<(), Misfit> {
        let Self { experts, top_k, n_group, topk_group, .. } = *self;
        if !experts.is_multiple_of(n_group) {
            let problem = format!("`experts` ({experts}) cannot be divided into `n_group` ({n_group}) equal groups");
            return Err(Misfit::new("n_group", problem, format!("give a divisor of {experts}")));
        }
        let size = experts / n_group;
        if n_group > 1 && size < 2 {
            let problem =
                format!("`n_group` ({n_group}) makes groups of one expert, and a group is judged by its two best");
            return Err(Misfit::new("n_group", problem, format!("give at most {}", experts / 2)));
        }
        if topk_group > n_group {
            let problem =
                format!("`topk_group` ({topk_group}) is more than the groups there are (`n_group`: {n_group})");
            return Err(Misfit::new("topk_group", problem, format!("give at most {n_group}")));
        }
        let allowed = topk_group * size;
        if top_k > allowed {
            let problem = format!("`top_k` ({top_k}) is more than the {allowed} experts that a sample may choose from");
            return Err(Misfit::new("top_k", problem, format!("give at most {allowed}")));
        }
        Ok(())
    }
}

impl Architecture for DsMoe {
    fn fits(&self) -> Result<(), Misfit> {
        Misfit::in_counts(&[
            ("experts", self.experts),
            ("top_k", self.top_k),
            ("blocks", self.blocks),
            ("n_group", self.n_group),
            ("topk_group", self.topk_group),
        ])?;
        self.groups_fit()?;
        if !(self.routed_scaling.is_finite() && self.routed_scaling > 0.0) {
            let problem = format!("`routed_scaling` should be a positive number, not {}", self.routed_scaling);
            return Err(Misfit::new("routed_scaling", problem, "1.0 leaves the gate values as they are"));
        }
        if !(self.balance_rate.is_finite() && self.balance_rate >= 0.0) {
            let problem = format!("`balance_rate` should be a number of at least 0, not {}", self.balance_rate);
            return Err(Misfit::new("balance_rate", problem, "0.0 lets the correction biases stand"));
        }
        Ok(())
    }

    fn build<W: Widths, D: Kernels>(&self, widths: W, schema: &Schema, b: &mut Builder<D>) -> Box<dyn Model<D>> {
        let tasks = schema.tasks.len();
        let fields = Fields::new(b, schema, widths.embed(), 1.0);
        let ((_, width), (expert, _)) = (widths.bottom(), widths.tower());
        let config = self.config(expert.size(), tasks);
        let input = Projection::new(b, "input", &fields, width);
        let blocks = (0..self.blocks).map(|i| MoeBlock::new(b, &format!("blocks.{i}"), width, &config)).collect();
        let style = Style::mtoreclib(self.dropout);
        let tower = |k| Tower::new(b, &format!("tower.{k}"), width, widths.tower(), style);
        let towers = (0..tasks).map(tower).collect();
        Box::new(Layers::<W> { fields, input, blocks, towers })
    }
}

impl<W: Widths, D: Kernels> Model<D> for Layers<W> {
    fn forward(&self, tape: &Tape<D>, batch: &Batch<D>) -> Vec<Var<(usize,)>> {
        let e = self.fields.embed(tape, batch);
        let first = vec![self.input.forward(tape, &e)];
        let streams = self.blocks.iter().fold(first, |streams, block| block.forward(tape, &streams));
        streams.iter().cycle().zip(&self.towers).map(|(h, tower)| tower.forward(tape, *h)).collect()
    }
}
