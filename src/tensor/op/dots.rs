//! Scores: scaled inner products, sample by sample.

use dfdx::shapes::Dim;

use crate::tensor::{Buffer, Kernels, NodeId, Op, ParamId, Pull, Tape, Var};

/// `s[b, e] = scale·⟨x[e, b], y[e, b]⟩` for two banks of E×B×N: B×E.
pub fn row_dots<N: Dim, D: Kernels>(
    tape: &Tape<D>,
    x: Var<(usize, usize, N)>,
    y: Var<(usize, usize, N)>,
    scale: f32,
) -> Var<(usize, usize)> {
    let (groups, batch, _) = x.shape;
    let mut out = tape.workspace().take(groups * batch);
    tape.device().row_dots(groups, scale, &tape.value(x), &tape.value(y), &mut out);
    tape.record(out, (batch, groups), RowDots { x: x.node, y: y.node, groups, scale })
}

struct RowDots {
    x: NodeId,
    y: NodeId,
    groups: usize,
    scale: f32,
}

impl<D: Kernels> Op<D> for RowDots {
    fn inputs(&self) -> (Vec<NodeId>, Vec<ParamId>) {
        (vec![self.x, self.y], vec![])
    }

    fn pull(&self, pull: &mut Pull<D>, _output: &Buffer<D>, cotangent: Buffer<D>) {
        for (of, other) in [(self.x, self.y), (self.y, self.x)] {
            let mut slot = pull.cotangent(of);
            pull.device().row_dots_back(self.groups, self.scale, &cotangent, pull.value(other), slot.sink());
            pull.put_cotangent(of, slot);
        }
        pull.workspace().give(cotangent);
    }
}
