//! The replayable tape: one forward pass, as many backward passes as there are tasks.
//!
//! dfdx's own tape is consumed by one `backward`. Here each operation records a value and knows how to pull a cotangent
//! of that value back to its inputs; [`Tape::backward`] may be called any number of times, so the K task gradients of one
//! forward pass see the same dropout masks and the same batch statistics.

use std::cell::{Cell, Ref, RefCell};

use dfdx::shapes::{Const, Dim, Shape};

use super::kernels::Sink;
use super::{Buffer, Gradients, Kernels, Key, ParamId, Params, Workspace};

/// The number of a value on its tape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeId(usize);

/// A value on a tape; its dfdx shape is part of the type, so a wrong wiring of compile-time sizes does not compile.
#[derive(Debug, Clone, Copy)]
pub struct Var<S: Shape> {
    pub(super) node: NodeId,
    /// The extents.
    pub shape: S,
}

impl<N: Dim> Var<(usize, N)> {
    /// The same values as a bank of one group.
    pub fn grouped(self) -> Var<(usize, usize, N)> {
        Var { node: self.node, shape: (1, self.shape.0, self.shape.1) }
    }
}

impl Var<(usize, usize, Const<1>)> {
    /// The same values without the axis of extent 1.
    pub fn squeezed(self) -> Var<(usize, usize)> {
        Var { node: self.node, shape: (self.shape.0, self.shape.1) }
    }
}

impl Var<(usize, usize)> {
    /// The same values in a row.
    pub fn flattened(self) -> Var<(usize,)> {
        Var { node: self.node, shape: (self.shape.0 * self.shape.1,) }
    }
}

impl<N: Dim> Var<(usize, N)> {
    /// The same values cut into groups of equally many rows.
    pub fn in_groups(self, groups: usize) -> Var<(usize, usize, N)> {
        Var { node: self.node, shape: (groups, self.shape.0 / groups, self.shape.1) }
    }
}

impl<N: Dim> Var<(usize, usize, N)> {
    /// The same values with the groups one below the other: for a bank of one group, its matrix.
    pub fn ungrouped(self) -> Var<(usize, N)> {
        Var { node: self.node, shape: (self.shape.0 * self.shape.1, self.shape.2) }
    }
}

/// What a forward pass is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics and dropout.
    Train {
        /// Decides the dropout masks.
        key: Key,
    },
    /// Running statistics, no dropout, nothing recorded for backward.
    Eval,
}

/// One recorded operation.
pub trait Op<D: Kernels> {
    /// The values and parameters it read.
    fn inputs(&self) -> (Vec<NodeId>, Vec<ParamId>);
    /// Pulls the cotangent of its output back to its inputs.
    fn pull(&self, pull: &mut Pull<D>, output: &Buffer<D>, cotangent: Buffer<D>);
}

struct Node<D: Kernels> {
    value: Buffer<D>,
    op: Option<Box<dyn Op<D>>>,
    /// Goes back to the pool when the pass ends; inputs belong to the batch they came from.
    pooled: bool,
}

/// What a training pass moves once a step, apart from training.
#[derive(Debug, Clone, Copy)]
pub(super) enum Moved {
    /// Running mean and variance, towards a batch's means and biased variances.
    Moments {
        mean: ParamId,
        variance: ParamId,
        /// Rows of the batch.
        batch: usize,
    },
    /// A router's correction bias, by `rate` against the loads of its experts.
    Balance { bias: ParamId, rate: f32 },
}

/// A forward pass and what it takes to run it backwards.
pub struct Tape<'a, D: Kernels> {
    params: &'a Params<D>,
    workspace: &'a Workspace<D>,
    mode: Mode,
    nodes: RefCell<Vec<Node<D>>>,
    moved: RefCell<Vec<(Moved, NodeId)>>,
    operations: Cell<usize>,
    miswired: RefCell<Option<String>>,
}

impl<'a, D: Kernels> Tape<'a, D> {
    /// An empty tape.
    pub fn new(params: &'a Params<D>, workspace: &'a Workspace<D>, mode: Mode) -> Self {
        Self {
            params,
            workspace,
            mode,
            nodes: RefCell::default(),
            moved: RefCell::default(),
            operations: Cell::new(0),
            miswired: RefCell::default(),
        }
    }

    /// The parameters this pass reads.
    pub fn params(&self) -> &'a Params<D> {
        self.params
    }

    /// The device everything lives on.
    pub fn device(&self) -> &'a D {
        self.workspace.device()
    }

    /// The pool buffers come from.
    pub fn workspace(&self) -> &'a Workspace<D> {
        self.workspace
    }

    /// What this pass is for.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Notes that a layer got an input of another width than it was built for. Compile-time sizes cannot get here; for
    /// run-time sizes the model's builder asks [`Tape::miswiring`] after a trial pass.
    pub fn expect_width(&self, layer: &str, expected: usize, found: usize) -> bool {
        if expected != found {
            let mut first = self.miswired.borrow_mut();
            first.get_or_insert_with(|| format!("`{layer}` takes {expected} inputs and is given {found}"));
        }
        expected == found
    }

    /// The variable, if it has this shape, and else zeros of this shape and a note as in
    /// [`expect_width`](Self::expect_width): a trial pass goes on whatever it meets.
    pub fn fitted<S: Shape>(&self, layer: &str, x: Var<S>, shape: S) -> Var<S> {
        let last = |shape: &S| shape.concrete().into_iter().last().unwrap_or(1);
        if self.expect_width(layer, last(&shape), last(&x.shape)) {
            x
        } else {
            self.constant(self.device().zeros(shape.num_elements()), shape)
        }
    }

    /// The first layer that got an input of the wrong width.
    pub fn miswiring(&self) -> Option<String> {
        self.miswired.borrow().clone()
    }

    /// The values of a variable.
    pub fn value<S: Shape>(&self, var: Var<S>) -> Ref<'_, Buffer<D>> {
        self.node_value(var.node)
    }

    pub(super) fn node_value(&self, node: NodeId) -> Ref<'_, Buffer<D>> {
        Ref::map(self.nodes.borrow(), |nodes| &nodes[node.0].value)
    }

    /// A constant made in this pass: no gradient flows into it.
    pub fn constant<S: Shape>(&self, value: Buffer<D>, shape: S) -> Var<S> {
        self.push(Node { value, op: None, pooled: true }, shape)
    }

    /// Data from outside: no gradient flows into it, and the buffer stays its owner's.
    pub fn input<S: Shape>(&self, value: &Buffer<D>, shape: S) -> Var<S> {
        self.push(Node { value: value.clone(), op: None, pooled: false }, shape)
    }

    /// Changes the values of a variable in place, in evaluation: nobody will ask for what was there.
    pub(super) fn overwrite<S: Shape>(&self, var: Var<S>, change: impl FnOnce(&mut Buffer<D>)) -> Var<S> {
        assert!(self.mode == Mode::Eval, "a value that backward passes read is not overwritten");
        change(&mut self.nodes.borrow_mut()[var.node.0].value);
        var
    }

    /// Records the output of an operation.
    pub(super) fn record<S: Shape>(&self, value: Buffer<D>, shape: S, op: impl Op<D> + 'static) -> Var<S> {
        let op: Option<Box<dyn Op<D>>> = if self.mode == Mode::Eval { None } else { Some(Box::new(op)) };
        self.push(Node { value, op, pooled: true }, shape)
    }

    fn push<S: Shape>(&self, node: Node<D>, shape: S) -> Var<S> {
        debug_assert_eq!(D::len(&node.value), shape.num_elements());
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(node);
        Var { node: NodeId(nodes.len() - 1), shape }
    }

    /// The number of the next random operation: the same in every pass of the same model.
    pub(super) fn next_operation(&self) -> usize {
        self.operations.replace(self.operations.get() + 1)
    }

    /// Notes what this pass has seen of a batch and what that is to move.
    pub(super) fn note_statistics<S: Shape>(&self, moved: Moved, seen: Var<S>) {
        self.moved.borrow_mut().push((moved, seen.node));
    }

    /// Adds the gradient of `Σ weight·loss` for these scalars to what is in `gradients`.
    pub fn backward(&self, seeds: &[(Var<()>, f32)], gradients: &mut Gradients<D>) {
        let seed = |&(loss, weight): &(Var<()>, f32)| {
            let mut seed = self.workspace.take(1);
            self.device().write(&mut seed, &[weight]);
            (loss.node, seed)
        };
        self.pull_back(seeds.iter().map(seed).collect(), gradients);
    }

    /// Pulls cotangents of any values back to the parameters.
    pub(super) fn pull_back(&self, seeds: Vec<(NodeId, Buffer<D>)>, gradients: &mut Gradients<D>) {
        let nodes = self.nodes.borrow();
        let mut pull =
            Pull { tape: self, nodes: &nodes, cotangents: (0..nodes.len()).map(|_| None).collect(), gradients };
        for (node, cotangent) in seeds {
            pull.deposit(node, cotangent);
        }
        for index in (0..nodes.len()).rev() {
            let Some(cotangent) = pull.cotangents[index].take() else { continue };
            match &nodes[index].op {
                Some(op) => op.pull(&mut pull, &nodes[index].value, cotangent),
                None => self.workspace.give(cotangent),
            }
        }
    }

    /// The parameters that a scalar depends on, by the structure of the tape alone.
    pub fn reach(&self, loss: Var<()>) -> Vec<ParamId> {
        let nodes = self.nodes.borrow();
        let mut reached = vec![false; nodes.len()];
        reached[loss.node.0] = true;
        let mut params = Vec::new();
        for index in (0..nodes.len()).rev() {
            if let (true, Some(op)) = (reached[index], &nodes[index].op) {
                let (from, read) = op.inputs();
                from.iter().for_each(|node| reached[node.0] = true);
                params.extend(read);
            }
        }
        params.sort_unstable();
        params.dedup();
        params
    }

    /// Ends the pass; what remains is to move running statistics and routers' biases, once a step.
    pub fn finish(self) -> Statistics<D> {
        let moved = self.moved.take();
        let mut nodes = self.nodes.borrow_mut();
        let taken = moved
            .into_iter()
            .map(|(moved, NodeId(seen))| (moved, std::mem::replace(&mut nodes[seen].value, self.device().zeros(0))))
            .collect();
        Statistics(taken)
    }
}

impl<D: Kernels> Drop for Tape<'_, D> {
    fn drop(&mut self) {
        for node in self.nodes.get_mut().drain(..).filter(|node| node.pooled) {
            self.workspace.give(node.value);
        }
    }
}

/// What a finished pass has seen of its batch, and what that moves.
pub struct Statistics<D: Kernels>(Vec<(Moved, Buffer<D>)>);

impl<D: Kernels> Statistics<D> {
    /// Moves everything there is to move.
    pub fn apply(self, params: &mut Params<D>, workspace: &Workspace<D>) {
        let device = workspace.device();
        for (moved, seen) in self.0 {
            match moved {
                Moved::Moments { mean, variance, batch } => {
                    let (mean, variance) = params.pair_mut(mean, variance);
                    device.move_statistics(batch, &seen, &mut mean.value, &mut variance.value);
                }
                Moved::Balance { bias, rate } => device.balance(rate, &seen, &mut params[bias].value),
            }
            workspace.give(seen);
        }
    }

    /// Gives the buffers back without moving anything.
    pub fn discard(self, workspace: &Workspace<D>) {
        self.0.into_iter().for_each(|(_, seen)| workspace.give(seen));
    }

    /// By how much the busiest expert's load exceeds the mean load, as a share of it (MaxVio of Wang et al., 2024): the
    /// worst of all routers, if there are any.
    pub fn max_violation(&self, device: &D) -> Option<f64> {
        let routers = self.0.iter().filter(|(moved, _)| matches!(moved, Moved::Balance { .. }));
        let violation = |(_, loads): &(Moved, Buffer<D>)| {
            let loads = device.download(loads);
            let most = loads.iter().copied().fold(0.0, f32::max);
            let mean = loads.iter().map(|load| f64::from(*load)).sum::<f64>() / loads.len() as f64;
            f64::from(most) / mean - 1.0
        };
        routers.map(violation).reduce(f64::max)
    }
}

/// What an operation may use while it pulls a cotangent back.
pub struct Pull<'t, D: Kernels> {
    tape: &'t Tape<'t, D>,
    nodes: &'t [Node<D>],
    cotangents: Vec<Option<Buffer<D>>>,
    gradients: &'t mut Gradients<D>,
}

/// A gradient taken out to be written: put it back when done.
pub struct Slot<D: Kernels> {
    buffer: Buffer<D>,
    accumulate: bool,
}

impl<D: Kernels> Slot<D> {
    /// Zeros, if nothing is there yet.
    pub fn clear(&mut self, device: &D) {
        if !self.accumulate {
            device.clear(&mut self.buffer);
            self.accumulate = true;
        }
    }

    /// As an output of a kernel.
    pub fn sink(&mut self) -> Sink<'_, D> {
        Sink { buffer: &mut self.buffer, accumulate: self.accumulate }
    }
}

impl<'t, D: Kernels> Pull<'t, D> {
    /// The device.
    pub fn device(&self) -> &'t D {
        self.tape.device()
    }

    /// The pool.
    pub fn workspace(&self) -> &'t Workspace<D> {
        self.tape.workspace
    }

    /// A value of the forward pass.
    pub fn value(&self, node: NodeId) -> &'t Buffer<D> {
        &self.nodes[node.0].value
    }

    /// A parameter's value.
    pub fn param(&self, id: ParamId) -> &'t Buffer<D> {
        &self.tape.params[id].value
    }

    /// Whether a cotangent of this value is of any use: constants take none.
    pub fn wants(&self, node: NodeId) -> bool {
        self.nodes[node.0].op.is_some()
    }

    /// Takes out the cotangent of a value, to be written or added to.
    pub fn cotangent(&mut self, node: NodeId) -> Slot<D> {
        match self.cotangents[node.0].take() {
            Some(buffer) => Slot { buffer, accumulate: true },
            None => {
                let len = D::len(&self.nodes[node.0].value);
                Slot { buffer: self.tape.workspace.take(len), accumulate: false }
            }
        }
    }

    /// Puts the cotangent of a value back.
    pub fn put_cotangent(&mut self, node: NodeId, slot: Slot<D>) {
        self.cotangents[node.0] = Some(slot.buffer);
    }

    /// Hands over a whole cotangent of a value, adding it if there is one already.
    pub fn deposit(&mut self, node: NodeId, buffer: Buffer<D>) {
        match &mut self.cotangents[node.0] {
            Some(sum) => {
                let len = D::len(&buffer);
                let sum = Sink { buffer: sum, accumulate: true };
                self.tape.device().copy(len, (&buffer, 0), (sum, 0));
                self.tape.workspace.give(buffer);
            }
            empty => *empty = Some(buffer),
        }
    }

    /// Takes out the gradient of a parameter (of `len` values: a table's gradient is as long as the batch is varied).
    pub fn gradient(&mut self, id: ParamId, len: usize) -> Slot<D> {
        match self.gradients.take(id) {
            Some(buffer) => Slot { buffer, accumulate: true },
            None => Slot { buffer: self.tape.workspace.take(len), accumulate: false },
        }
    }

    /// Puts the gradient of a parameter back.
    pub fn put_gradient(&mut self, id: ParamId, slot: Slot<D>) {
        self.gradients.put(id, slot.buffer);
    }

    /// Hands over a whole gradient of a parameter, adding it if there is one already.
    pub fn deposit_gradient(&mut self, id: ParamId, buffer: Buffer<D>) {
        match self.gradients.take(id) {
            Some(mut sum) => {
                let len = D::len(&buffer);
                let sink = Sink { buffer: &mut sum, accumulate: true };
                self.tape.device().copy(len, (&buffer, 0), (sink, 0));
                self.tape.workspace.give(buffer);
                self.gradients.put(id, sum);
            }
            None => self.gradients.put(id, buffer),
        }
    }
}
