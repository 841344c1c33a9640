//! Our models against PyTorch's own numbers: `tests/parity/*.safetensors` hold what the published models compute on one
//! tiny batch with dropout off — initial parameters under their PyTorch names, outputs, losses, the gradient of each task
//! alone, the losses over five Adam steps on the sum of the losses, and evaluation outputs after them.

use std::collections::HashMap;

use mtorec::data::{Field, RawBatch, Schema};
use mtorec::model::{
    Aitm, Arch, Esmm, MetaHeac, Mmoe, Network, Omoe, Ple, SharedBottom, SingleTask, Sizes, Stem, count_parameters,
    load_tensors, write_checkpoint,
};
use mtorec::nn::TorchTensor;
use mtorec::optim::{Adam, AdamState, Decay};
use mtorec::tensor::{Cpu, FieldIds, Gradients, Kernels, Key, Kind, Mode, Owner, ParamId, Tape, Workspace};
use safetensors::tensor::{SafeTensors, TensorView};

struct Fixture {
    bytes: Vec<u8>,
    about: HashMap<String, String>,
}

impl Fixture {
    fn read(name: &str) -> Self {
        let path = format!("{}/tests/parity/{name}.safetensors", env!("CARGO_MANIFEST_DIR"));
        let bytes = std::fs::read(path).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        Self { about: header.metadata().clone().unwrap(), bytes }
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.bytes).unwrap()
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        let tensors = self.tensors();
        let view = tensors.tensor(name).unwrap();
        view.data().as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    fn integers(&self, name: &str) -> Vec<i64> {
        let tensors = self.tensors();
        let view = tensors.tensor(name).unwrap();
        view.data().as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect()
    }

    /// Whether a parameter's gradient is zero but for rounding: the biases of hidden layers, which the batch normalisation
    /// behind them takes out again (and the numeric token's, where no gate sees it).
    fn is_noise(&self, name: &str) -> bool {
        let tasks: usize = self.number("tasks");
        let theirs = (0..tasks).map(|k| format!("grad/{k}/{name}")).filter(|name| self.tensors().tensor(name).is_ok());
        name.ends_with(".bias") && theirs.flat_map(|name| self.floats(&name)).all(|g| g.abs() < 1e-6)
    }

    fn number<T: std::str::FromStr<Err: std::fmt::Debug>>(&self, key: &str) -> T {
        self.about[key].parse().unwrap()
    }

    fn list(&self, key: &str) -> Vec<usize> {
        self.about[key].trim_matches(['[', ']']).split(", ").map(|x| x.parse().unwrap()).collect()
    }

    fn schema(&self) -> Schema {
        let field = |(f, size): (usize, usize)| Field { name: format!("f{f}"), size, out_of_vocabulary: None };
        Schema {
            fields: self.list("field_dims").into_iter().enumerate().map(field).collect(),
            numerical: (0..self.number("numerical")).map(|j: usize| format!("x{j}")).collect(),
            tasks: (0..self.number("tasks")).map(|k: usize| format!("t{k}")).collect(),
        }
    }

    fn sizes(&self) -> Sizes {
        let (bottom, tower) = (self.list("bottom"), self.list("tower"));
        Sizes::Custom { embed: self.number("embed"), bottom: (bottom[0], bottom[1]), tower: (tower[0], tower[1]) }
    }

    fn batch(&self) -> RawBatch {
        let (rows, tasks): (usize, usize) = (self.number("rows"), self.number("tasks"));
        let labels = self.floats("batch/labels");
        RawBatch {
            rows,
            categorical: self.integers("batch/categorical").into_iter().map(|id| id as u32).collect(),
            numerical: self.floats("batch/numerical"),
            labels: (0..tasks)
                .flat_map(|k| labels.iter().skip(k).step_by(tasks).copied().collect::<Vec<_>>())
                .collect(),
        }
    }
}

/// Relative to the largest value of the tensor, with an absolute floor for tensors that are rounding noise in exact
/// arithmetic (the gradient of a bias in front of a batch normalisation is zero).
fn assert_close(what: &str, ours: &[f32], theirs: &[f32], relative: f32, floor: f32) {
    assert_eq!(ours.len(), theirs.len(), "{what}: lengths");
    let scale = theirs.iter().fold(0.0f32, |a, b| a.max(b.abs()));
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() <= relative * scale + floor, "{what}[{i}]: {a} against PyTorch's {b} (scale {scale})");
    }
}

fn sigmoid(z: &[f32]) -> Vec<f32> {
    z.iter().map(|z| 1.0 / (1.0 + (-z).exp())).collect()
}

fn parity(name: &str, arch: Arch) {
    let fixture = Fixture::read(name);
    writes_what_pytorch_has(&fixture, &arch);
    parity_on(&Cpu::default(), &fixture, &arch);
    #[cfg(feature = "cuda")]
    match mtorec::tensor::Cuda::open(0) {
        Ok(gpu) => parity_on(&gpu, &fixture, &arch),
        Err(fault) => eprintln!("skipped on a GPU: {}", fault.message),
    }
}

fn parity_on<D: Kernels>(device: &D, fixture: &Fixture, arch: &Arch) {
    let schema = fixture.schema();
    let mut network = Network::build(arch, &fixture.sizes(), &schema, 1, device).unwrap();
    load_tensors(&mut network, &fixture.tensors(), "init/").unwrap();
    owners_are_those_of_pytorchs_gradients(fixture, &network);
    let workspace = Workspace::new(device);
    let mut slot = network.batch_slot(&schema);
    let raw = fixture.batch();
    let mut ids = FieldIds::default();
    ids.index(slot.layout(), &raw.categorical, raw.rows);
    let batch = &slot.load(&raw, 1)[0];

    // outputs, losses, and the gradient of each task alone
    {
        let tape = Tape::new(&network.params, &workspace, Mode::Train { key: Key::of_step(0, 0) });
        let logits = network.forward(&tape, batch);
        for (k, logits) in logits.iter().enumerate() {
            let z = device.download(&tape.value(*logits));
            assert_close("output", &sigmoid(&z), &fixture.floats(&format!("forward/{k}")), 1e-5, 0.0);
        }
        let losses = network.losses(&tape, batch);
        for (k, (loss, value)) in losses.into_iter().enumerate() {
            assert_close("loss", &[value as f32], &fixture.floats(&format!("loss/{k}")), 1e-5, 0.0);
            let mut gradients = Gradients::default();
            tape.backward(&[(loss, 1.0)], &mut gradients);
            let full: Vec<Vec<f32>> =
                network.params.iter().map(|(id, _)| full_gradient(&network, &gradients, id, &ids.rows)).collect();
            let mut compared = 0;
            for tensor in &network.tensors {
                let theirs = format!("grad/{k}/{}", tensor.name);
                if fixture.tensors().tensor(&theirs).is_err() {
                    let reached = tensor.parts.iter().any(|part| gradients.get(part.param).is_some());
                    assert!(!reached || is_statistic(&network, tensor), "{theirs}: PyTorch has no gradient there");
                    continue;
                }
                let ours: Vec<f32> = tensor.elements().map(|(param, at)| full[param.0][at]).collect();
                let floor = if fixture.is_noise(&tensor.name) { 6e-7 } else { 1e-8 };
                assert_close(&theirs, &ours, &fixture.floats(&theirs), 1e-5, floor);
                compared += 1;
            }
            assert!(compared > 10, "gradients were compared");
        }
    }

    // Adam on the sum of the losses
    let hyper = Adam { lr: fixture.number("lr"), weight_decay: fixture.number("weight_decay"), ..Adam::default() };
    let mut adam = AdamState::new(hyper, &network.params);
    let expected = fixture.floats("steps/loss");
    for step in 0..fixture.number::<usize>("steps") {
        let mut gradients = Gradients::default();
        let tape = Tape::new(&network.params, &workspace, Mode::Train { key: Key::of_step(0, step as u64) });
        let losses = network.losses(&tape, batch);
        for (k, (_, value)) in losses.iter().enumerate() {
            let theirs = &expected[step * losses.len() + k..][..1];
            assert_close(&format!("loss {k} at step {step}"), &[*value as f32], theirs, 1e-5, 0.0);
        }
        let seeds: Vec<_> = losses.iter().map(|(loss, _)| (*loss, 1.0)).collect();
        tape.backward(&seeds, &mut gradients);
        tape.finish().apply(&mut network.params, &workspace);
        for id in (0..network.params.len()).map(ParamId) {
            let gradient: Vec<_> = gradients.get(id).map(|g| (1.0, g)).into_iter().collect();
            adam.step(&mut network.params, id, &batch.ids, Decay::Coupled, &gradient);
        }
        gradients.clear(&workspace);
    }

    // the parameters and running statistics they end with
    let values: Vec<Vec<f32>> = network.params.iter().map(|(_, param)| device.download(&param.value)).collect();
    for tensor in &network.tensors {
        let ours: Vec<f32> = tensor.elements().map(|(param, at)| values[param.0][at]).collect();
        let theirs = fixture.floats(&format!("final/{}", tensor.name));
        let statistic = is_statistic(&network, tensor);
        // Adam blows the rounding noise of the biases that a normalisation cancels up to whole steps, theirs and ours
        // alike, and the running means follow those biases; all else agrees, and the running variances, in which no bias
        // shows, do so to rounding
        let (relative, floor) = match tensor.name.ends_with(".running_var") {
            true => (1e-5, 0.0),
            false if fixture.is_noise(&tensor.name) || statistic => (0.0, 5.5e-3),
            false => (1e-4, 2e-5),
        };
        assert_close(&format!("final {}", tensor.name), &ours, &theirs, relative, floor);
    }

    // evaluation with the running statistics, from PyTorch's final parameters
    load_tensors(&mut network, &fixture.tensors(), "final/").unwrap();
    if !network.norms.is_empty() {
        assert_eq!(network.batches_tracked, fixture.number::<i64>("steps"));
    }
    let tape = Tape::new(&network.params, &workspace, Mode::Eval);
    for (k, logits) in network.forward(&tape, batch).into_iter().enumerate() {
        let z = device.download(&tape.value(logits));
        assert_close("evaluation", &sigmoid(&z), &fixture.floats(&format!("eval/{k}")), 1e-5, 0.0);
    }
}

fn is_statistic<D: Kernels>(network: &Network<D>, tensor: &TorchTensor) -> bool {
    tensor.parts.iter().all(|part| network.params[part.param].kind == Kind::Statistic)
}

/// Shared is what at least two tasks' losses give a gradient in PyTorch, and a task's own what only its loss does. Where
/// PyTorch keeps several parameters side by side in one tensor, each is judged by its own numbers.
fn owners_are_those_of_pytorchs_gradients<D: Kernels>(fixture: &Fixture, network: &Network<D>) {
    let tasks: usize = fixture.number("tasks");
    for tensor in network.tensors.iter().filter(|tensor| !is_statistic(network, tensor)) {
        let mut reached: HashMap<usize, Vec<usize>> = HashMap::new();
        for k in 0..tasks {
            let name = format!("grad/{k}/{}", tensor.name);
            if fixture.tensors().tensor(&name).is_err() {
                continue;
            }
            for ((param, _), _) in tensor.elements().zip(fixture.floats(&name)).filter(|(_, g)| *g != 0.0) {
                let by = reached.entry(param.0).or_default();
                if by.last() != Some(&k) {
                    by.push(k);
                }
            }
        }
        for ParamId(id) in tensor.parts.iter().map(|part| part.param) {
            let expected = match reached.get(&id).map(Vec::as_slice) {
                None => Owner::Nobody,
                Some([k]) => Owner::Task(*k),
                Some(_) => Owner::Shared,
            };
            let param = &network.params[ParamId(id)];
            assert_eq!(param.owner, expected, "{} in {}", param.name, tensor.name);
        }
    }
}

/// A parameter's gradient as PyTorch has it: rows of a table that the batch does not take are zero, and so is everything
/// that the loss does not reach.
fn full_gradient<D: Kernels>(network: &Network<D>, gradients: &Gradients<D>, id: ParamId, rows: &[u32]) -> Vec<f32> {
    let (param, device) = (&network.params[id], network.params.device());
    let mut full = vec![0.0; D::len(&param.value)];
    let gradient = gradients.get(id).map(|gradient| device.download(gradient)).unwrap_or_default();
    match param.kind {
        Kind::Table { width } => {
            for (&row, values) in rows.iter().zip(gradient.chunks_exact(width)) {
                full[row as usize * width..][..width].copy_from_slice(values);
            }
        }
        _ => full[..gradient.len()].copy_from_slice(&gradient),
    }
    full
}

/// A file that `load_state_dict` takes strictly: PyTorch's names, all of them and no others, each with its shape and bytes.
fn writes_what_pytorch_has(fixture: &Fixture, arch: &Arch) {
    let mut network = Network::build(arch, &fixture.sizes(), &fixture.schema(), 1, &Cpu::default()).unwrap();
    load_tensors(&mut network, &fixture.tensors(), "final/").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    write_checkpoint(&network, &path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let ours = SafeTensors::deserialize(&bytes).unwrap();
    let theirs = fixture.tensors();
    let named = |tensors: &SafeTensors, prefix: &str| -> Vec<String> {
        let mut names: Vec<String> =
            tensors.names().into_iter().filter_map(|name| name.strip_prefix(prefix)).map(str::to_owned).collect();
        names.sort();
        names
    };
    let names = named(&theirs, "final/");
    assert_eq!(named(&ours, ""), names, "{}", arch.name());
    for name in &names {
        let (ours, theirs) = (ours.tensor(name).unwrap(), theirs.tensor(&format!("final/{name}")).unwrap());
        let parts = |view: &TensorView| (view.dtype(), view.shape().to_vec(), view.data().to_vec());
        assert_eq!(parts(&ours), parts(&theirs), "{name}");
    }
}

#[test]
fn single_task() {
    parity("single_task", SingleTask { dropout: 0.0 }.into());
}

#[test]
fn shared_bottom() {
    parity("shared_bottom", SharedBottom { dropout: 0.0 }.into());
}

#[test]
fn omoe() {
    parity("omoe", Omoe { experts: 4, dropout: 0.0 }.into());
}

#[test]
fn mmoe() {
    parity("mmoe", Mmoe { experts: 4, dropout: 0.0 }.into());
}

#[test]
fn ple() {
    parity("ple", Ple { shared_experts: 2, task_experts: 2, levels: 2, dropout: 0.0 }.into());
}

#[test]
fn aitm() {
    parity("aitm", Aitm { dropout: 0.0 }.into());
}

#[test]
fn esmm() {
    parity("esmm", Esmm { dropout: 0.0 }.into());
}

#[test]
fn stem() {
    parity("stem", Stem { shared_experts: 2, task_experts: 2, layers: 1, dropout: 0.0, reference_gate: true }.into());
}

#[test]
fn meta_heac() {
    parity(
        "metaheac",
        MetaHeac { experts: 4, critics: 3, dropout: 0.0, reference_mean: true, ..MetaHeac::default() }.into(),
    );
}

#[test]
fn a_checkpoint_of_other_sizes_is_refused_with_the_names_of_the_tensors() {
    let fixture = Fixture::read("mmoe");
    let schema = fixture.schema();
    let device = Cpu::default();
    let sizes = Sizes::Custom { embed: 4, bottom: (8, 6), tower: (5, 2) };
    let arch = Mmoe { experts: 3, dropout: 0.0 }.into();
    let mut network = Network::build(&arch, &sizes, &schema, 1, &device).unwrap();
    let before: Vec<Vec<f32>> = network.params.iter().map(|(_, param)| param.value.as_vec()).collect();
    let refused = load_tensors(&mut network, &fixture.tensors(), "init/").unwrap_err().to_string();
    assert!(refused.contains("`gate.0.0.weight` is F32 [4, 16], expected F32 [3, 16]"), "{refused}");
    assert!(refused.contains("more"), "{refused}");
    let after: Vec<Vec<f32>> = network.params.iter().map(|(_, param)| param.value.as_vec()).collect();
    assert_eq!(before, after, "a checkpoint that does not fit changes nothing");
}

/// METHODS' table for fields of 5, 7 and 3 ids, 4 numerical columns and embeddings of 4: all parameters, and those of the
/// shared group where the published code and the structural rule agree.
#[test]
fn parameter_counts_are_the_published_ones() {
    let fixture = Fixture::read("mmoe");
    let sizes = Sizes::Custom { embed: 4, bottom: (512, 256), tower: (128, 64) };
    let device = Cpu::default();
    let models: [(Arch, usize, Option<usize>); 9] = [
        (SingleTask::default().into(), 366_498, Some(0)),
        (SharedBottom::default().into(), 224_850, Some(141_648)),
        (Omoe::default().into(), 1_215_962, None),
        (Mmoe::default().into(), 1_216_098, Some(1_132_624)),
        (Ple::default().into(), 1_796_938, None),
        (Aitm::default().into(), 629_586, None),
        (Esmm::default().into(), 366_418, None),
        (Stem::default().into(), 2_158_678, None),
        (MetaHeac::default().into(), 1_340_754, None),
    ];
    for (arch, total, shared) in models {
        let network = Network::build(&arch, &sizes, &fixture.schema(), 1, &device).unwrap();
        assert_eq!(network.params.count(), total, "{}", arch.name());
        assert_eq!(count_parameters(&arch, &sizes, &fixture.schema()), Ok(total), "counted without drawing");
        if let Some(shared) = shared {
            assert_eq!(owned(&network, Owner::Shared), shared, "shared parameters of {}", arch.name());
        }
    }
    // of the published ones, the last shared gate of PLE and that of STEM are never used
    for (arch, unused) in [(Ple::default().into(), 6_156), (Stem::default().into(), 11_212)] {
        let network: Network<Cpu> = Network::build(&arch, &sizes, &fixture.schema(), 1, &device).unwrap();
        assert_eq!(owned(&network, Owner::Nobody), unused, "unused parameters of {}", arch.name());
    }
}

fn owned(network: &Network<Cpu>, owner: Owner) -> usize {
    let trained = network.params.iter().filter(|(_, param)| param.kind != Kind::Statistic);
    trained.filter(|(_, param)| param.owner == owner).map(|(_, param)| param.value.as_vec().len()).sum()
}
