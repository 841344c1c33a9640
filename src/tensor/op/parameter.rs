//! A parameter as a variable, for operations that take it like any other input.

use dfdx::shapes::Shape;

use crate::tensor::kernels::Sink;
use crate::tensor::{Buffer, Kernels, NodeId, Op, ParamId, Pull, Tape, Var};

/// The values of a parameter in this shape.
pub fn parameter<S: Shape, D: Kernels>(tape: &Tape<D>, id: ParamId, shape: S) -> Var<S> {
    let len = shape.num_elements();
    let mut out = tape.workspace().take(len);
    let sink = Sink { buffer: &mut out, accumulate: false };
    tape.device().copy(len, (&tape.params()[id].value, 0), (sink, 0));
    tape.record(out, shape, Parameter { id })
}

struct Parameter {
    id: ParamId,
}

impl<D: Kernels> Op<D> for Parameter {
    fn inputs(&self) -> (Vec<NodeId>, Vec<ParamId>) {
        (vec![], vec![self.id])
    }

    fn pull(&self, pull: &mut Pull<D>, _output: &Buffer<D>, cotangent: Buffer<D>) {
        pull.deposit_gradient(self.id, cotangent);
    }
}
