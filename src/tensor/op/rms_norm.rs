//! Root mean square normalisation.

use dfdx::shapes::Dim;

use crate::tensor::{Buffer, Kernels, NodeId, Op, ParamId, Pull, Tape, Var};

/// `γ ⊙ x/√(mean(x²) + 10⁻⁶)` for each row of a B×N matrix (Zhang & Sennrich, NeurIPS 2019); γ has N values.
pub fn rms_norm<N: Dim, D: Kernels>(tape: &Tape<D>, x: Var<(usize, N)>, gain: ParamId) -> Var<(usize, N)> {
    let (batch, cols) = x.shape;
    let mut out = tape.workspace().take(batch * cols.size());
    tape.device().rms_norm(cols.size(), &tape.value(x), &tape.params()[gain].value, &mut out);
    tape.record(out, x.shape, RmsNorm { x: x.node, gain, cols: cols.size() })
}

struct RmsNorm {
    x: NodeId,
    gain: ParamId,
    cols: usize,
}

impl<D: Kernels> Op<D> for RmsNorm {
    fn inputs(&self) -> (Vec<NodeId>, Vec<ParamId>) {
        (vec![self.x], vec![self.gain])
    }

    fn pull(&self, pull: &mut Pull<D>, _output: &Buffer<D>, mut cotangent: Buffer<D>) {
        let mut gain = pull.gradient(self.gain, self.cols);
        let inputs = (pull.value(self.x), pull.param(self.gain));
        pull.device().rms_norm_back(self.cols, inputs, &mut cotangent, gain.sink());
        pull.put_gradient(self.gain, gain);
        pull.deposit(self.x, cotangent);
    }
}
