//! Collects a model's parameters while its layers are made.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::tensor::{Kernels, Kind, ParamId, Params};

/// How a parameter starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Uniform on `[-bound, bound)`.
    Uniform(f64),
    /// All the same.
    Constant(f32),
}

/// One tensor under its PyTorch name: where its elements lie in our parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TorchTensor {
    /// The name in PyTorch's `state_dict`.
    pub name: String,
    /// Its shape there, row-major.
    pub shape: Vec<usize>,
    /// Our parameter.
    pub param: ParamId,
    /// Its first element there.
    pub offset: usize,
    /// Distance in our parameter between neighbours along each axis of `shape`.
    pub strides: Vec<usize>,
}

impl TorchTensor {
    /// Our position of each element, in PyTorch's (row-major) order.
    pub fn positions(&self) -> impl Iterator<Item = usize> + '_ {
        let count: usize = self.shape.iter().product();
        (0..count).map(move |mut i| {
            let mut at = self.offset;
            for (extent, stride) in self.shape.iter().zip(&self.strides).rev() {
                at += (i % extent) * stride;
                i /= extent;
            }
            at
        })
    }
}

/// A model in the making.
pub struct Builder<D: Kernels> {
    /// The parameters so far.
    pub params: Params<D>,
    /// Their PyTorch names.
    pub tensors: Vec<TorchTensor>,
    /// Names of the batch normalisations, whose `num_batches_tracked` PyTorch expects in a checkpoint.
    pub norms: Vec<String>,
    seed: u64,
}

impl<D: Kernels> Builder<D> {
    /// An empty model whose parameters are drawn from this seed.
    pub fn new(device: &D, seed: u64) -> Self {
        Self { params: Params::new(device), tensors: Vec::new(), norms: Vec::new(), seed }
    }

    /// Adds a parameter. What it draws depends on the seed and its name alone, so another layer more or less changes
    /// nothing in the ones beside it.
    pub fn add(&mut self, name: impl Into<String>, kind: Kind, len: usize, init: Init) -> ParamId {
        let name = name.into();
        let values = match init {
            Init::Constant(value) => vec![value; len],
            Init::Uniform(bound) => {
                let mut hasher = blake3::Hasher::new();
                hasher.update(&self.seed.to_le_bytes());
                hasher.update(name.as_bytes());
                let mut rng = ChaCha8Rng::from_seed(*hasher.finalize().as_bytes());
                (0..len).map(|_| ((2.0 * rng.random::<f64>() - 1.0) * bound) as f32).collect()
            }
        };
        self.params.add(name, kind, &values)
    }

    /// Notes where a parameter's numbers stand in PyTorch's checkpoint.
    pub fn torch(&mut self, name: String, shape: Vec<usize>, param: ParamId, offset: usize, strides: Vec<usize>) {
        self.tensors.push(TorchTensor { name, shape, param, offset, strides });
    }

    /// PyTorch's default bound for a `Linear` with this many inputs: weights and biases alike.
    pub fn linear_bound(inputs: usize) -> Init {
        Init::Uniform(1.0 / (inputs.max(1) as f64).sqrt())
    }

    /// Notes a `Linear`'s names for each map of a bank stored E×I×O with biases E×O; `name(e)` is the module's.
    pub fn torch_linear(
        &mut self,
        name: &dyn Fn(usize) -> String,
        groups: usize,
        (inputs, outputs): (usize, usize),
        (weight, bias): (ParamId, ParamId),
    ) {
        for e in 0..groups {
            let offset = e * inputs * outputs;
            self.torch(format!("{}.weight", name(e)), vec![outputs, inputs], weight, offset, vec![1, outputs]);
            self.torch(format!("{}.bias", name(e)), vec![outputs], bias, e * outputs, vec![1]);
        }
    }
}
