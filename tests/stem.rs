//! STEM against a plain computation, row by row in f64, of its formulas on the tensors of its checkpoint: any number of
//! layers, and the authors' gates as well as the published library's.

use std::collections::HashMap;

use mtorec::data::{Field, RawBatch, Schema};
use mtorec::model::{Network, Sizes, Stem};
use mtorec::nn::TorchTensor;
use mtorec::tensor::{Cpu, Kernels, Mode, Tape, Workspace};

const TASKS: usize = 2;
const ROWS: usize = 9;
const FIELDS: [usize; 3] = [4, 3, 5];
const COLUMNS: usize = 2;
const EMBED: usize = 3;

fn schema() -> Schema {
    let field = |&size: &usize| Field { name: format!("f{size}"), size, out_of_vocabulary: None };
    Schema {
        fields: FIELDS.iter().map(field).collect(),
        numerical: (0..COLUMNS).map(|j| format!("x{j}")).collect(),
        tasks: (0..TASKS).map(|k| format!("t{k}")).collect(),
    }
}

fn batch() -> RawBatch {
    let ids = |row: usize| FIELDS.iter().enumerate().map(move |(f, size)| ((row * 5 + row / 2 + f) % size) as u32);
    RawBatch {
        rows: ROWS,
        categorical: (0..ROWS).flat_map(ids).collect(),
        numerical: (0..ROWS * COLUMNS).map(|i| ((i * 29) % 23) as f32 / 8.0 - 1.0).collect(),
        labels: vec![0.0; TASKS * ROWS],
    }
}

/// A checkpoint's tensors: shape and numbers.
struct Tensors(HashMap<String, (Vec<usize>, Vec<f64>)>);

impl Tensors {
    fn of(network: &Network<Cpu>) -> Self {
        let device = Cpu::default();
        let values: Vec<Vec<f32>> = network.params.iter().map(|(_, param)| device.download(&param.value)).collect();
        let numbers = |tensor: &TorchTensor| tensor.elements().map(|(p, at)| f64::from(values[p.0][at])).collect();
        let all = network.tensors.iter();
        Self(all.map(|tensor| (tensor.name.clone(), (tensor.shape.clone(), numbers(tensor)))).collect())
    }

    /// `W·x + b` of a PyTorch `Linear`.
    fn linear(&self, name: &str, x: &[f64]) -> Vec<f64> {
        let (shape, weight) = &self.0[&format!("{name}.weight")];
        assert_eq!(shape[1], x.len(), "{name}");
        let products = weight.chunks(x.len()).map(|row| row.iter().zip(x).map(|(w, x)| w * x).sum::<f64>());
        products.zip(&self.0[&format!("{name}.bias")].1).map(|(product, bias)| product + bias).collect()
    }

    /// Linear maps with a ReLU behind each but the last, which has one if `clip` says so.
    fn mlp(&self, name: &str, layers: usize, clip: bool, x: &[f64]) -> Vec<f64> {
        (0..layers).fold(x.to_vec(), |x, layer| {
            let mut y = self.linear(&format!("{name}.mlp.{}", 2 * layer), &x);
            if clip || layer + 1 < layers {
                y.iter_mut().for_each(|y| *y = y.max(0.0));
            }
            y
        })
    }

    /// The fields of one row as every stream sees them.
    fn streams(&self, ids: &[u32], numbers: &[f32]) -> Vec<Vec<f64>> {
        let (shape, table) = &self.0["embedding_layer.embedding.weight"];
        let numbers: Vec<f64> = numbers.iter().map(|x| f64::from(*x)).collect();
        let token = self.linear("numerical_layer", &numbers);
        let slice = |slice: usize| {
            let mut first = 0;
            let mut x = Vec::new();
            for (id, size) in ids.iter().zip(FIELDS) {
                let at = (first + *id as usize) * shape[1] + slice * EMBED;
                x.extend_from_slice(&table[at..at + EMBED]);
                first += size;
            }
            x.extend_from_slice(&token[slice * EMBED..(slice + 1) * EMBED]);
            x
        };
        (0..=TASKS).map(slice).collect()
    }

    fn logits(&self, stem: &Stem, ids: &[u32], numbers: &[f32]) -> Vec<f64> {
        let mut streams = self.streams(ids, numbers);
        for layer in 0..stem.layers {
            let module = format!("stem_layers.{layer}");
            let mut candidates = Vec::new();
            for (k, stream) in streams.iter().enumerate() {
                let (experts, count) = match k {
                    TASKS => (format!("{module}.shared_experts"), stem.shared_experts),
                    _ => (format!("{module}.specific_experts.{k}"), stem.task_experts),
                };
                candidates.extend((0..count).map(|j| self.mlp(&format!("{experts}.{j}"), 3, true, stream)));
            }
            let gated = |k: usize| {
                let shared = if k == TASKS { 0.0 } else { 1.0 };
                let input: Vec<f64> = streams[k].iter().zip(&streams[TASKS]).map(|(x, s)| x + shared * s).collect();
                let gate = self.mlp(&format!("{module}.gate.{k}"), 3, stem.reference_gate, &input);
                let total: f64 = gate.iter().map(|z| z.exp()).sum();
                let mut mixed = vec![0.0; candidates[0].len()];
                for (z, candidate) in gate.iter().zip(&candidates) {
                    mixed.iter_mut().zip(candidate).for_each(|(mixed, x)| *mixed += z.exp() / total * x);
                }
                mixed
            };
            streams = (0..=TASKS).map(gated).collect();
        }
        (0..TASKS).map(|k| self.mlp(&format!("tower.{k}"), 3, false, &streams[k])[0]).collect()
    }
}

#[test]
fn logits_are_those_of_the_formulas() {
    let sizes = Sizes::Custom { embed: EMBED, bottom: (7, 6), tower: (5, 4) };
    let raw = batch();
    for (layers, reference_gate) in [(1, false), (1, true), (2, false), (2, true), (4, false)] {
        let stem = Stem { shared_experts: 3, task_experts: 2, layers, dropout: 0.0, reference_gate };
        let mut network = Network::build(&stem.into(), &sizes, &schema(), 5, &Cpu::default()).unwrap();
        // numbers far from zero, so that what is wrong shows behind four layers
        for id in (0..network.params.len()).map(mtorec::tensor::ParamId) {
            let device = Cpu::default();
            let value = device.download(&network.params[id].value);
            let grown: Vec<f32> = value.iter().map(|x| 3.0 * x + 0.05).collect();
            device.write(&mut network.params[id].value, &grown);
        }
        let tensors = Tensors::of(&network);
        let workspace = Workspace::new(&Cpu::default());
        let mut slot = network.batch_slot(&schema());
        let tape = Tape::new(&network.params, &workspace, Mode::Eval);
        let logits = network.forward(&tape, &slot.load(&raw, 1)[0]);
        let ours: Vec<Vec<f32>> = logits.into_iter().map(|logits| tape.value(logits).as_vec()).collect();
        for row in 0..ROWS {
            let (ids, numbers) = (&raw.categorical[row * FIELDS.len()..], &raw.numerical[row * COLUMNS..]);
            let plain = tensors.logits(&stem, &ids[..FIELDS.len()], &numbers[..COLUMNS]);
            for (ours, plain) in ours.iter().zip(&plain) {
                let (ours, scale) = (f64::from(ours[row]), 1.0 + plain.abs());
                assert!((ours - plain).abs() < 1e-5 * scale, "{layers} layers, row {row}: {ours} and {plain}");
            }
        }
        let spread = ours[0].iter().fold(0f32, |most, z| most.max((z - ours[0][0]).abs()));
        assert!(spread > 1e-3, "{layers} layers: rows differ ({spread})");
    }
}
