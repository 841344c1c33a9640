//! ReLU and inverted dropout: the nonlinearity of layers without a normalisation.

use dfdx::shapes::Shape;

use crate::tensor::kernels::Dropout;
use crate::tensor::{Buffer, Kernels, Key, Mode, NodeId, Op, ParamId, Pull, Tape, Var};

/// `max(x, 0)`, and in training each unit dropped with probability `share` (Srivastava et al., JMLR 2014).
pub fn relu_dropout<S: Shape, D: Kernels>(tape: &Tape<D>, x: Var<S>, share: f32) -> Var<S> {
    let dropout = match tape.mode() {
        Mode::Eval => Dropout { share: 0.0, key: Key::of_step(0, 0) },
        Mode::Train { key } => Dropout { share, key: key.of_operation(tape.next_operation()) },
    };
    let mut out = tape.workspace().take(x.shape.num_elements());
    tape.device().relu_dropout(dropout, &tape.value(x), &mut out);
    tape.record(out, x.shape, Relu { x: x.node, dropout })
}

struct Relu {
    x: NodeId,
    dropout: Dropout,
}

impl<D: Kernels> Op<D> for Relu {
    fn inputs(&self) -> (Vec<NodeId>, Vec<ParamId>) {
        (vec![self.x], vec![])
    }

    fn pull(&self, pull: &mut Pull<D>, output: &Buffer<D>, mut cotangent: Buffer<D>) {
        pull.device().relu_dropout_back(self.dropout, output, &mut cotangent);
        pull.deposit(self.x, cotangent);
    }
}
