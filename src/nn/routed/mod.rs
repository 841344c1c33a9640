//! Sparse mixtures of experts: every sample is routed to a few experts, and a shared expert serves all.

use dfdx::shapes::Dim;

use super::{Builder, Init, RmsNorm};
use crate::tensor::kernels::RouteRule;
use crate::tensor::op::{Bank, Routing, add, project, route, routed, swiglu};
use crate::tensor::{Kernels, Kind, ParamId, Tape, Var};

#[cfg(test)]
mod tests;

/// The hidden state of a batch as it passes from block to block, B×N.
type Stream<N> = Var<(usize, N)>;

/// What a block of experts is made of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MoeConfig {
    /// How experts are chosen.
    pub rule: RouteRule,
    /// How far a router's correction bias moves a step.
    pub rate: f32,
    /// Hidden units of a routed expert.
    pub hidden: usize,
    /// Hidden units of the shared expert; with none there is no shared expert.
    pub shared: usize,
    /// Routers over the same experts, one a stream; a single one for all streams if this is `None`.
    pub routers: Option<usize>,
}

/// A residual block `h + MoE(RMSNorm(h))` (Dai et al., 2024; DeepSeek-AI, 2024).
pub struct MoeBlock<N: Dim> {
    norm: RmsNorm<N>,
    routers: Vec<Router>,
    bank: Bank,
    shared: Option<SharedExpert>,
}

impl<N: Dim> MoeBlock<N> {
    /// `name` is PyTorch's module, whose parts are `norm`, `router` (or `router.0`, `router.1`, ... with one a stream),
    /// `experts.0`, `experts.1`, ... and `shared`.
    pub fn new<D: Kernels>(b: &mut Builder<D>, name: &str, width: N, config: &MoeConfig) -> Self {
        let inputs = width.size();
        let router_names: Vec<String> = match config.routers {
            None => vec![format!("{name}.router")],
            Some(count) => (0..count).map(|k| format!("{name}.router.{k}")).collect(),
        };
        let experts = |e: usize| format!("{name}.experts.{e}");
        let (up, down) = swiglu_bank(b, &experts, config.rule.experts, (inputs, config.hidden));
        Self {
            norm: RmsNorm::new(b, &format!("{name}.norm"), width),
            routers: router_names.iter().map(|name| Router::new(b, name, inputs, config)).collect(),
            bank: Bank { experts: config.rule.experts, hidden: config.hidden, up, down },
            shared: (config.shared > 0)
                .then(|| SharedExpert::new(b, &format!("{name}.shared"), (inputs, config.shared))),
        }
    }

    /// Streams of B×N, one or as many as there are routers, to as many as there are routers: with several, each has its
    /// own way through the same experts.
    pub fn forward<D: Kernels>(&self, tape: &Tape<D>, streams: &[Stream<N>]) -> Vec<Stream<N>> {
        let prepared: Vec<_> = streams.iter().map(|h| self.before_routing(tape, *h)).collect();
        let streams = prepared.iter().cycle().zip(&self.routers);
        streams.map(|((z, h), router)| add(tape, *h, routed(tape, *z, &router.forward(tape, *z), self.bank))).collect()
    }

    /// What does not depend on the router: the normalised stream, and the stream with the shared expert's output added.
    fn before_routing<D: Kernels>(&self, tape: &Tape<D>, h: Stream<N>) -> (Stream<N>, Stream<N>) {
        let z = self.norm.forward(tape, h);
        let served = self.shared.as_ref().map_or(h, |shared| add(tape, h, shared.forward(tape, z)));
        (z, served)
    }
}

/// Linear scores of the experts without bias; the correction bias is not trained.
struct Router {
    weight: ParamId,
    bias: ParamId,
    rule: RouteRule,
    rate: f32,
}

impl Router {
    fn new<D: Kernels>(b: &mut Builder<D>, name: &str, inputs: usize, config: &MoeConfig) -> Self {
        let experts = config.rule.experts;
        let (weight, bias) = (format!("{name}.weight"), format!("{name}.bias"));
        let router = Self {
            weight: b.add(&weight, Kind::Weight, inputs * experts, Builder::<D>::linear_bound(inputs)),
            bias: b.add(&bias, Kind::Statistic, experts, Init::Constant(0.0)),
            rule: config.rule,
            rate: config.rate,
        };
        b.torch(weight, vec![experts, inputs], router.weight, 0, vec![1, experts]);
        b.torch(bias, vec![experts], router.bias, 0, vec![1]);
        router
    }

    fn forward<N: Dim, D: Kernels>(&self, tape: &Tape<D>, z: Var<(usize, N)>) -> Routing<D> {
        let logits = project(tape, z, self.weight, self.rule.experts);
        route(tape, logits, self.bias, self.rule, self.rate)
    }
}

/// An expert that every sample takes.
struct SharedExpert {
    hidden: usize,
    up: ParamId,
    down: ParamId,
}

impl SharedExpert {
    fn new<D: Kernels>(b: &mut Builder<D>, name: &str, (inputs, hidden): (usize, usize)) -> Self {
        let (up, down) = swiglu_bank(b, &|_| name.to_owned(), 1, (inputs, hidden));
        Self { hidden, up, down }
    }

    fn forward<N: Dim, D: Kernels>(&self, tape: &Tape<D>, z: Var<(usize, N)>) -> Var<(usize, N)> {
        let projected = project(tape, z, self.up, 2 * self.hidden);
        project(tape, swiglu(tape, projected, self.hidden), self.down, z.shape.1)
    }
}

/// The matrices of a bank of `z ↦ W_down·(silu(W_gate·z) ⊙ W_up·z)`; `name(e)` is PyTorch's module of expert e. The gate's
/// columns and the up-projection's lie side by side in one matrix, so that both are one product.
fn swiglu_bank<D: Kernels>(
    b: &mut Builder<D>,
    name: &dyn Fn(usize) -> String,
    count: usize,
    (inputs, hidden): (usize, usize),
) -> (ParamId, ParamId) {
    let area = inputs * hidden;
    let part = |e: usize, part: &str| format!("{}.{part}.weight", name(e));
    let up = b.add(part(0, "up"), Kind::Weight, count * 2 * area, Builder::<D>::linear_bound(inputs));
    let down = b.add(part(0, "down"), Kind::Weight, count * area, Builder::<D>::linear_bound(hidden));
    for e in 0..count {
        let columns = vec![1, 2 * hidden];
        b.torch(part(e, "gate"), vec![hidden, inputs], up, e * 2 * area, columns.clone());
        b.torch(part(e, "up"), vec![hidden, inputs], up, e * 2 * area + hidden, columns);
        b.torch(part(e, "down"), vec![inputs, hidden], down, e * area, vec![1, inputs]);
    }
    (up, down)
}
