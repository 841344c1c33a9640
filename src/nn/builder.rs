//! Collects a model's parameters while its layers are made.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::tensor::{Kernels, Kind, ParamId, Params};

/// How a parameter starts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    /// Uniform on `[-bound, bound)`.
    Uniform(f64),
    /// Standard normal.
    Normal,
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
    /// The axis along which it is cut into equal parts.
    pub axis: usize,
    /// Its parts, one of our parameters (or a piece of one) each.
    pub parts: Vec<TorchPart>,
}

/// Where a part of a PyTorch tensor lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TorchPart {
    /// Our parameter.
    pub param: ParamId,
    /// Its first element there.
    pub offset: usize,
    /// Distance in our parameter between neighbours along each axis of the tensor.
    pub strides: Vec<usize>,
}

/// A batch normalisation under its PyTorch name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TorchNorm {
    /// The name of the module.
    pub name: String,
    /// Batches that it sees a training step: PyTorch counts every one.
    pub passes: usize,
}

impl TorchTensor {
    /// Our parameter and the position in it of each element, in PyTorch's (row-major) order.
    pub fn elements(&self) -> impl Iterator<Item = (ParamId, usize)> + '_ {
        let count: usize = self.shape.iter().product();
        let extent = self.shape.get(self.axis).map_or(1, |extent| extent / self.parts.len());
        (0..count).map(move |mut i| {
            let mut part = 0;
            let mut index = [0; 4];
            for (axis, len) in self.shape.iter().enumerate().rev() {
                index[axis] = i % len;
                i /= len;
            }
            if !self.shape.is_empty() {
                part = index[self.axis] / extent;
                index[self.axis] %= extent;
            }
            let TorchPart { param, offset, strides } = &self.parts[part];
            (*param, offset + index.iter().zip(strides).map(|(i, stride)| i * stride).sum::<usize>())
        })
    }
}

/// A model in the making.
pub struct Builder<D: Kernels> {
    /// The parameters so far.
    pub params: Params<D>,
    /// Their PyTorch names.
    pub tensors: Vec<TorchTensor>,
    /// The batch normalisations, whose `num_batches_tracked` PyTorch expects in a checkpoint.
    pub norms: Vec<TorchNorm>,
    /// Constants that PyTorch keeps among the parameters: written, and ignored on loading.
    pub constants: Vec<(String, f32)>,
    /// What to draw from; nothing is drawn or kept when only the numbers are counted.
    seed: Option<u64>,
    trained: usize,
}

impl<D: Kernels> Builder<D> {
    /// An empty model whose parameters are drawn from this seed.
    pub fn new(device: &D, seed: u64) -> Self {
        Self {
            params: Params::new(device),
            tensors: Vec::new(),
            norms: Vec::new(),
            constants: Vec::new(),
            seed: Some(seed),
            trained: 0,
        }
    }

    /// A model that is only counted: its parameters are empty, so it can never run.
    pub fn counting(device: &D) -> Self {
        Self { seed: None, ..Self::new(device, 0) }
    }

    /// How many trained numbers have been added.
    pub fn trained(&self) -> usize {
        self.trained
    }

    /// Adds a parameter. What it draws depends on the seed and its name alone, so another layer more or less changes
    /// nothing in the ones beside it.
    pub fn add(&mut self, name: impl Into<String>, kind: Kind, len: usize, init: Init) -> ParamId {
        let name = name.into();
        if kind != Kind::Statistic {
            self.trained += len;
        }
        let Some(seed) = self.seed else { return self.params.add(name, kind, &[]) };
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.update(name.as_bytes());
        let mut rng = ChaCha8Rng::from_seed(*hasher.finalize().as_bytes());
        let mut uniform = || rng.random::<f64>();
        let values = match init {
            Init::Constant(value) => vec![value; len],
            Init::Uniform(bound) => (0..len).map(|_| ((2.0 * uniform() - 1.0) * bound) as f32).collect(),
            // Box & Muller (1958)
            Init::Normal => (0..len)
                .map(|_| {
                    let radius = (-2.0 * (1.0 - uniform()).ln()).sqrt();
                    (radius * (std::f64::consts::TAU * uniform()).cos()) as f32
                })
                .collect(),
        };
        self.params.add(name, kind, &values)
    }

    /// Notes where a parameter's numbers stand in PyTorch's checkpoint.
    pub fn torch(&mut self, name: String, shape: Vec<usize>, param: ParamId, offset: usize, strides: Vec<usize>) {
        self.torch_parts(name, shape, 0, vec![TorchPart { param, offset, strides }]);
    }

    /// Notes where the numbers of several parameters stand in one tensor of PyTorch's checkpoint, side by side along `axis`.
    pub fn torch_parts(&mut self, name: String, shape: Vec<usize>, axis: usize, parts: Vec<TorchPart>) {
        self.tensors.push(TorchTensor { name, shape, axis, parts });
    }

    /// Notes a constant that PyTorch's checkpoint carries among the parameters.
    pub fn torch_constant(&mut self, name: &str, value: f32) {
        self.constants.push((name.to_owned(), value));
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
