//! Routers: the choice of each sample's experts.

use std::rc::Rc;

use crate::tensor::kernels::RouteRule;
use crate::tensor::tape::Moved;
use crate::tensor::{Buffer, Kernels, Mode, NodeId, Op, ParamId, Pull, Tape, Var};

/// What a router says of a batch.
pub struct Routing<D: Kernels> {
    /// Gate values of the chosen experts, by ascending expert: B×k.
    pub gates: Var<(usize, usize)>,
    pub(super) routes: Rc<D::Routes>,
}

/// Chooses k of R experts for each sample from B×R logits: the ones with the largest `sigmoid(logit) + bias`, within the
/// best groups if there are groups; of equals the lowest. The gate values know nothing of the bias, which therefore has no
/// gradient: training passes note the experts' loads, by which the bias moves `rate` a step (auxiliary-loss-free load
/// balancing, Wang et al., 2024).
pub fn route<D: Kernels>(
    tape: &Tape<D>,
    logits: Var<(usize, usize)>,
    bias: ParamId,
    rule: RouteRule,
    rate: f32,
) -> Routing<D> {
    let batch = logits.shape.0;
    let logits = tape.fitted("router", logits, (batch, rule.experts));
    let mut gates = tape.workspace().take(batch * rule.top_k);
    let mut loads = tape.workspace().take(rule.experts);
    let routes = {
        let logits = tape.value(logits);
        tape.device().route(&rule, (&logits, &tape.params()[bias].value), &mut gates, &mut loads)
    };
    let routes = Rc::new(routes);
    let loads = tape.constant(loads, (rule.experts,));
    if tape.mode() != Mode::Eval {
        tape.note_statistics(Moved::Balance { bias, rate }, loads);
    }
    let op = Route::<D> { logits: logits.node, rule, routes: Rc::clone(&routes) };
    Routing { gates: tape.record(gates, (batch, rule.top_k), op), routes }
}

struct Route<D: Kernels> {
    logits: NodeId,
    rule: RouteRule,
    routes: Rc<D::Routes>,
}

impl<D: Kernels> Op<D> for Route<D> {
    fn inputs(&self) -> (Vec<NodeId>, Vec<ParamId>) {
        (vec![self.logits], vec![])
    }

    fn pull(&self, pull: &mut Pull<D>, _output: &Buffer<D>, cotangent: Buffer<D>) {
        let mut logits = pull.cotangent(self.logits);
        pull.device().route_back(&self.rule, &self.routes, pull.value(self.logits), &cotangent, logits.sink());
        pull.put_cotangent(self.logits, logits);
        pull.workspace().give(cotangent);
    }
}
