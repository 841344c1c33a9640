//! Gated linear units.

use dfdx::shapes::Dim;

use crate::tensor::{Buffer, Kernels, NodeId, Op, ParamId, Pull, Tape, Var};

/// `silu(g) ⊙ u` for rows `[g | u]`: B×2N to B×N (Shazeer, 2020).
pub fn swiglu<N: Dim, D: Kernels>(tape: &Tape<D>, x: Var<(usize, usize)>, cols: N) -> Var<(usize, N)> {
    let batch = x.shape.0;
    let x = tape.fitted("gated linear units", x, (batch, 2 * cols.size()));
    let mut out = tape.workspace().take(batch * cols.size());
    tape.device().swiglu(cols.size(), &tape.value(x), &mut out);
    tape.record(out, (batch, cols), SwiGlu { x: x.node, cols: cols.size() })
}

struct SwiGlu {
    x: NodeId,
    cols: usize,
}

impl<D: Kernels> Op<D> for SwiGlu {
    fn inputs(&self) -> (Vec<NodeId>, Vec<ParamId>) {
        (vec![self.x], vec![])
    }

    fn pull(&self, pull: &mut Pull<D>, _output: &Buffer<D>, cotangent: Buffer<D>) {
        let mut x = pull.cotangent(self.x);
        pull.device().swiglu_back(self.cols, pull.value(self.x), &cotangent, x.sink());
        pull.put_cotangent(self.x, x);
        pull.workspace().give(cotangent);
    }
}
