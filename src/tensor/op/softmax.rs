//! Softmax over each row: gates.

use dfdx::shapes::Dim;

use crate::tensor::{Buffer, Kernels, NodeId, Op, ParamId, Pull, Tape, Var};

/// Softmax over the columns of a B×N matrix.
pub fn softmax<N: Dim, D: Kernels>(tape: &Tape<D>, x: Var<(usize, N)>) -> Var<(usize, N)> {
    let (batch, cols) = x.shape;
    let mut out = tape.workspace().take(batch * cols.size());
    tape.device().softmax(cols.size(), &tape.value(x), &mut out);
    tape.record(out, x.shape, Softmax { x: x.node, cols: cols.size() })
}

struct Softmax {
    x: NodeId,
    cols: usize,
}

impl<D: Kernels> Op<D> for Softmax {
    fn inputs(&self) -> (Vec<NodeId>, Vec<ParamId>) {
        (vec![self.x], vec![])
    }

    fn pull(&self, pull: &mut Pull<D>, output: &Buffer<D>, mut cotangent: Buffer<D>) {
        pull.device().softmax_back(self.cols, output, &mut cotangent);
        pull.deposit(self.x, cotangent);
    }
}
