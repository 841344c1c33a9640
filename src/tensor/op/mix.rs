//! The gated sum of a mixture of experts.

use dfdx::shapes::Dim;

use crate::tensor::{Buffer, Kernels, NodeId, Op, ParamId, Pull, Tape, Var};

/// `h[b] = Σ_e gate[b, e]·x[e, b]`: a gate of B×E over a bank of E×B×N.
pub fn mix<N: Dim, D: Kernels>(
    tape: &Tape<D>,
    gate: Var<(usize, usize)>,
    x: Var<(usize, usize, N)>,
) -> Var<(usize, N)> {
    let (groups, batch, cols) = x.shape;
    tape.expect_width("gate", groups, gate.shape.1);
    let mut out = tape.workspace().take(batch * cols.size());
    tape.device().mix(groups, batch, &tape.value(gate), &tape.value(x), &mut out);
    tape.record(out, (batch, cols), Mix { gate: gate.node, x: x.node, groups, batch })
}

struct Mix {
    gate: NodeId,
    x: NodeId,
    groups: usize,
    batch: usize,
}

impl<D: Kernels> Op<D> for Mix {
    fn inputs(&self) -> (Vec<NodeId>, Vec<ParamId>) {
        (vec![self.gate, self.x], vec![])
    }

    fn pull(&self, pull: &mut Pull<D>, _output: &Buffer<D>, cotangent: Buffer<D>) {
        let mut gate = pull.cotangent(self.gate);
        let mut x = pull.cotangent(self.x);
        let inputs = (pull.value(self.gate), pull.value(self.x));
        pull.device().mix_back(self.groups, self.batch, inputs, &cotangent, gate.sink(), x.sink());
        pull.put_cotangent(self.gate, gate);
        pull.put_cotangent(self.x, x);
        pull.workspace().give(cotangent);
    }
}
