//! A bank of experts of which each sample takes a few.

use std::rc::Rc;

use dfdx::shapes::Dim;

use super::Routing;
use crate::tensor::kernels::{RoutedInputs, RoutedShape, RoutedSinks};
use crate::tensor::{Buffer, Kernels, NodeId, Op, ParamId, Pull, Tape, Var};

/// R experts, each with H gated linear units from N inputs to N outputs, without biases.
#[derive(Debug, Clone, Copy)]
pub struct Bank {
    /// Experts, R.
    pub experts: usize,
    /// Hidden units of each, H.
    pub hidden: usize,
    /// First matrices, R×N×2H: columns of g, then of u.
    pub up: ParamId,
    /// Second matrices, R×H×N.
    pub down: ParamId,
}

/// `Σ_j gate_j·expert_j(x)` over each sample's chosen experts; the others are not computed and get no gradient.
pub fn routed<N: Dim, D: Kernels>(
    tape: &Tape<D>,
    x: Var<(usize, N)>,
    routing: &Routing<D>,
    bank: Bank,
) -> Var<(usize, N)> {
    let (batch, width) = x.shape;
    let shape = RoutedShape { experts: bank.experts, width: width.size(), hidden: bank.hidden };
    let mut projected = tape.workspace().take(batch * routing.gates.shape.1 * 2 * bank.hidden);
    let mut out = tape.workspace().take(batch * width.size());
    {
        let (params, x, gates) = (tape.params(), tape.value(x), tape.value(routing.gates));
        let (up, down) = (&params[bank.up].value, &params[bank.down].value);
        let inputs = RoutedInputs::<D> { x: &x, gates: &gates, up, down };
        tape.device().routed(&shape, &routing.routes, &inputs, &mut projected, &mut out);
    }
    let choices = batch * routing.gates.shape.1;
    let projected = tape.constant(projected, (choices, 2 * bank.hidden)).node;
    let (gates, routes) = (routing.gates.node, Rc::clone(&routing.routes));
    tape.record(out, x.shape, Routed::<D> { x: x.node, gates, projected, routes, bank, shape })
}

struct Routed<D: Kernels> {
    x: NodeId,
    gates: NodeId,
    projected: NodeId,
    routes: Rc<D::Routes>,
    bank: Bank,
    shape: RoutedShape,
}

impl<D: Kernels> Op<D> for Routed<D> {
    fn inputs(&self) -> (Vec<NodeId>, Vec<ParamId>) {
        (vec![self.x, self.gates], vec![self.bank.up, self.bank.down])
    }

    fn pull(&self, pull: &mut Pull<D>, _output: &Buffer<D>, cotangent: Buffer<D>) {
        let area = self.shape.experts * self.shape.width * self.shape.hidden;
        let (mut x, mut gates) = (pull.cotangent(self.x), pull.cotangent(self.gates));
        let (mut up, mut down) = (pull.gradient(self.bank.up, 2 * area), pull.gradient(self.bank.down, area));
        let inputs = RoutedInputs::<D> {
            x: pull.value(self.x),
            gates: pull.value(self.gates),
            up: pull.param(self.bank.up),
            down: pull.param(self.bank.down),
        };
        let sinks = RoutedSinks { x: x.sink(), gates: gates.sink(), up: up.sink(), down: down.sink() };
        let projected = pull.value(self.projected);
        pull.device().routed_back(&self.shape, &self.routes, &inputs, projected, &cotangent, sinks);
        pull.put_cotangent(self.x, x);
        pull.put_cotangent(self.gates, gates);
        pull.put_gradient(self.bank.up, up);
        pull.put_gradient(self.bank.down, down);
        pull.workspace().give(cotangent);
    }
}
