//! BatchNorm, ReLU and inverted dropout in one operation: the nonlinearity of every block.

use dfdx::shapes::Dim;

use crate::tensor::kernels::{NormInputs, NormShape};
use crate::tensor::tape::Moved;
use crate::tensor::{Buffer, Kernels, Key, Mode, NodeId, Op, ParamId, Pull, Tape, Var};

/// The parameters of one normalisation of E·N columns.
#[derive(Debug, Clone, Copy)]
pub struct Norm {
    /// γ, E·N.
    pub gain: ParamId,
    /// β, E·N.
    pub shift: ParamId,
    /// Running mean, E·N.
    pub mean: ParamId,
    /// Running (unbiased) variance, E·N.
    pub variance: ParamId,
    /// Share of the units dropped in training.
    pub dropout: f32,
}

/// BatchNorm → ReLU → dropout on each of E groups of B×N activations (Ioffe & Szegedy, ICML 2015; Srivastava et al.,
/// JMLR 2014). Training uses the batch's statistics and notes them for the running ones; evaluation uses the running
/// statistics and drops nothing; it works in place, so `x` must be read by nobody else.
pub fn norm_relu_dropout<N: Dim, D: Kernels>(
    tape: &Tape<D>,
    x: Var<(usize, usize, N)>,
    norm: Norm,
) -> Var<(usize, usize, N)> {
    let (groups, batch, cols) = x.shape;
    let params = tape.params();
    let (gain, shift) = (&params[norm.gain].value, &params[norm.shift].value);
    match tape.mode() {
        Mode::Eval => {
            let key = Key::of_step(0, 0);
            let shape = NormShape { groups, batch, cols: cols.size(), dropout: 0.0, key };
            let running = (&params[norm.mean].value, &params[norm.variance].value);
            tape.overwrite(x, |x| tape.device().norm_relu_eval(&shape, x, gain, shift, running))
        }
        Mode::Train { key } => {
            let key = key.of_operation(tape.next_operation());
            let shape = NormShape { groups, batch, cols: cols.size(), dropout: norm.dropout, key };
            let mut out = tape.workspace().take(groups * batch * cols.size());
            let mut statistics = tape.workspace().take(2 * groups * cols.size());
            tape.device().norm_relu_dropout(&shape, &tape.value(x), gain, shift, &mut statistics, &mut out);
            let statistics = tape.constant(statistics, (2 * groups, cols));
            tape.note_statistics(Moved::Moments { mean: norm.mean, variance: norm.variance, batch }, statistics);
            tape.record(out, x.shape, NormRelu { x: x.node, statistics: statistics.node, norm, shape })
        }
    }
}

struct NormRelu {
    x: NodeId,
    statistics: NodeId,
    norm: Norm,
    shape: NormShape,
}

impl<D: Kernels> Op<D> for NormRelu {
    fn inputs(&self) -> (Vec<NodeId>, Vec<ParamId>) {
        (vec![self.x], vec![self.norm.gain, self.norm.shift])
    }

    fn pull(&self, pull: &mut Pull<D>, output: &Buffer<D>, mut cotangent: Buffer<D>) {
        let columns = self.shape.groups * self.shape.cols;
        let mut gain = pull.gradient(self.norm.gain, columns);
        let mut shift = pull.gradient(self.norm.shift, columns);
        let inputs = NormInputs {
            x: pull.value(self.x),
            out: output,
            gain: pull.param(self.norm.gain),
            statistics: pull.value(self.statistics),
        };
        pull.device().norm_relu_dropout_back(&self.shape, &inputs, &mut cotangent, gain.sink(), shift.sink());
        pull.put_gradient(self.norm.gain, gain);
        pull.put_gradient(self.norm.shift, shift);
        pull.deposit(self.x, cotangent);
    }
}
