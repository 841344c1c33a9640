//! Architectures beyond the nine fixtures: other numbers of tasks, levels and layers, who owns what there, the options that
//! repeat a published quirk, and the names that a dropout gives.

use mtorec::balance::loss::Ls;
use mtorec::data::{Field, RawBatch, Schema};
use mtorec::model::{Aitm, Arch, Esmm, MetaHeac, Mmoe, Network, Ple, SharedBottom, SingleTask, Sizes, Stem};
use mtorec::optim::Adam;
use mtorec::stage::train::Trainer;
use mtorec::tensor::{Cpu, Kernels, Kind, Mode, Owner, Tape, Workspace};

const ROWS: usize = 64;

fn schema(tasks: usize) -> Schema {
    let field = |f: usize| Field { name: format!("f{f}"), size: 4, out_of_vocabulary: None };
    Schema {
        fields: (0..2).map(field).collect(),
        numerical: vec!["x".into()],
        tasks: (0..tasks).map(|k| format!("t{k}")).collect(),
    }
}

/// Rows whose labels one field and one number decide.
fn batch(tasks: usize) -> RawBatch {
    let id = |row: usize| (row * 7 + row / 5) % 4;
    let x = |row: usize| ((row * 13) % 17) as f32 / 17.0;
    let label = |task: usize, row: usize| f32::from(if task == 1 { x(row) > 0.5 } else { id(row) == task });
    RawBatch {
        rows: ROWS,
        categorical: (0..ROWS).flat_map(|row| [id(row) as u32, (row % 4) as u32]).collect(),
        numerical: (0..ROWS).map(x).collect(),
        labels: (0..tasks).flat_map(|task| (0..ROWS).map(move |row| label(task, row))).collect(),
    }
}

fn network(arch: impl Into<Arch>, tasks: usize) -> Network<Cpu> {
    Network::build(&arch.into(), &Sizes::Tiny, &schema(tasks), 3, &Cpu::default()).unwrap()
}

fn logits(network: &Network<Cpu>, tasks: usize) -> Vec<Vec<f32>> {
    let workspace = Workspace::new(&Cpu::default());
    let mut slot = network.batch_slot(&schema(tasks));
    let tape = Tape::new(&network.params, &workspace, Mode::Eval);
    let logits = network.forward(&tape, &slot.load(&batch(tasks), 1)[0]);
    logits.into_iter().map(|logits| tape.value(logits).as_vec()).collect()
}

/// Sets every number of the PyTorch tensors whose names are wanted.
fn set(network: &mut Network<Cpu>, wanted: impl Fn(&str) -> bool, number: f32) {
    let device = Cpu::default();
    for tensor in network.tensors.iter().filter(|tensor| wanted(&tensor.name)) {
        for (param, at) in tensor.elements() {
            let mut values = device.download(&network.params[param].value);
            values[at] = number;
            device.write(&mut network.params[param].value, &values);
        }
    }
}

/// Compares the owner of every trained tensor, by its PyTorch name, with what is expected.
fn owners_are(network: &Network<Cpu>, expected: impl Fn(&str) -> Owner) {
    for tensor in &network.tensors {
        for part in &tensor.parts {
            let param = &network.params[part.param];
            if param.kind != Kind::Statistic {
                assert_eq!(param.owner, expected(&param.name), "{} in {}", param.name, tensor.name);
            }
        }
    }
}

/// The number behind a prefix: 1 of `tower.1.mlp.0.weight` behind `tower.`.
fn number(name: &str, prefix: &str) -> Option<usize> {
    name.strip_prefix(prefix)?.split('.').next()?.parse().ok()
}

#[test]
fn one_task_and_three_train_where_the_architecture_takes_them() {
    let variants = [Ple { levels: 1, ..Ple::default() }.into(), Stem { layers: 2, ..Stem::default() }.into()];
    for arch in Arch::defaults().into_iter().chain(variants) {
        for tasks in [1, 3] {
            if !arch.tasks().contains(&tasks) {
                assert_eq!(arch, Esmm::default().into());
                continue;
            }
            let network = network(arch.clone(), tasks);
            let mut slot = network.batch_slot(&schema(tasks));
            let workspace = Workspace::new(&Cpu::default());
            let method = mtorec::balance::Balancer::from(Ls::default()).build(tasks).unwrap();
            let mut trainer = Trainer::new(network, Adam { lr: 1e-2, ..Adam::default() }, method, 1);
            let mut losses = Vec::new();
            for _ in 0..150 {
                losses.push(trainer.step(slot.load(&batch(tasks), 1), 0, false, &workspace).losses.iter().sum::<f64>());
            }
            let (first, last) = (losses[0], losses[losses.len() - 1]);
            assert!(last < 0.97 * first, "{arch:?}, {tasks} tasks: {first} to {last}");
            trainer.settle();
            assert_eq!(logits(&trainer.network, tasks).len(), tasks);
        }
    }
}

#[test]
fn three_tasks_of_aitm_share_all_but_what_only_the_last_one_reads() {
    owners_are(&network(Aitm::default(), 3), |name| {
        match (number(name, "tower."), number(name, "bottom."), number(name, "g.")) {
            (Some(k), ..) => Owner::Task(k),
            (_, Some(2), _) | (_, _, Some(1)) => Owner::Task(2),
            // the attention's maps serve the second task and, through it and directly, the third
            _ => Owner::Shared,
        }
    });
    let alone = |name: &str| if name.starts_with('h') { Owner::Nobody } else { Owner::Task(0) };
    owners_are(&network(Aitm::default(), 1), alone);
}

#[test]
fn one_level_of_ple_is_a_last_one() {
    let network = network(Ple { levels: 1, ..Ple::default() }, 2);
    owners_are(&network, |name| {
        let specific = ["tower.", "task_gates.0.", "task_experts.0."].iter().find_map(|part| number(name, part));
        match specific {
            Some(k) => Owner::Task(k),
            None if name.starts_with("share_gates.") => Owner::Nobody,
            None => Owner::Shared,
        }
    });
    let tower = network.tensors.iter().find(|tensor| tensor.name == "tower.0.mlp.0.weight").unwrap();
    assert_eq!(tower.shape, [8, 16], "towers stand on the first bottom width");
    assert!(!network.tensors.iter().any(|tensor| tensor.name.contains("_experts.1.")));
}

#[test]
fn a_layer_of_stem_makes_shared_what_feeds_the_shared_stream() {
    for layers in 1..=4 {
        let network = network(Stem { layers, ..Stem::default() }, 2);
        owners_are(&network, |name| {
            if let Some(k) = number(name, "tower.") {
                return Owner::Task(k);
            }
            if let Some(slice) = number(name, "embedding_layer.").or(number(name, "numerical_layer.")) {
                return if slice == 2 || layers > 1 { Owner::Shared } else { Owner::Task(slice) };
            }
            let layer = number(name, "stem_layers.").unwrap();
            let module = format!("stem_layers.{layer}");
            // how many layers follow, each of which (but the last) mixes all experts into the shared stream
            let behind = layers - 1 - layer;
            if let Some(k) = number(name, &format!("{module}.specific_experts.")) {
                return if behind > 0 { Owner::Shared } else { Owner::Task(k) };
            }
            match number(name, &format!("{module}.gate.")) {
                Some(2) if behind == 0 => Owner::Nobody,
                // what a task's gate lets through reaches the others by way of that task's experts in a later layer
                Some(k) if k < 2 && behind < 2 => Owner::Task(k),
                _ => Owner::Shared,
            }
        });
    }
}

/// A softmax does not see what is added to all its inputs, but a ReLU in front of it does.
#[test]
fn only_the_reference_gate_of_stem_clips_its_logits() {
    let stem = |reference_gate| network(Stem { reference_gate, dropout: 0.0, ..Stem::default() }, 2);
    let is_last = |part: &'static str| move |name: &str| name.contains(".gate.") && name.ends_with(part);
    let shifted = |reference_gate, by: f32| {
        let mut network = stem(reference_gate);
        set(&mut network, is_last("mlp.4.bias"), by);
        logits(&network, 2)
    };
    let close = |a: &[Vec<f32>], b: &[Vec<f32>]| {
        a.iter().flatten().zip(b.iter().flatten()).all(|(a, b)| (a - b).abs() <= 2e-6 * (1.0 + a.abs()))
    };
    let plain = shifted(false, 0.0);
    assert!(close(&shifted(false, 3.0), &plain) && close(&shifted(false, -3.0), &plain));
    assert!(close(&shifted(true, 3.0), &plain), "nothing to clip");
    let mut uniform = stem(false);
    set(&mut uniform, is_last("mlp.4.bias"), 0.0);
    set(&mut uniform, is_last("mlp.4.weight"), 0.0);
    assert!(close(&shifted(true, -3.0), &logits(&uniform, 2)), "all clipped: every expert weighs the same");
    assert!(!close(&plain, &logits(&uniform, 2)));
}

#[test]
fn the_reference_mean_of_meta_heac_is_the_sum_over_the_number_of_critics() {
    let critics = 3;
    let heac = |reference_mean| network(MetaHeac { critics, reference_mean, ..MetaHeac::default() }, 2);
    let probabilities = |network: &Network<Cpu>| -> Vec<f32> {
        logits(network, 2).into_iter().flatten().map(|z| 1.0 / (1.0 + (-z).exp())).collect()
    };
    let (sum, mean) = (probabilities(&heac(false)), probabilities(&heac(true)));
    for (sum, mean) in sum.iter().zip(&mean) {
        assert!((sum / critics as f32 - mean).abs() <= 1e-6 * sum, "{sum} and {mean}");
    }
    assert!(sum.iter().any(|p| *p > 1.0 / critics as f32), "{sum:?}");
}

/// An architecture of this dropout, a module of it, and the indices of its linear maps with a dropout and without.
type Case = (fn(f32) -> Arch, &'static str, &'static [usize], &'static [usize]);

/// `Linear → BatchNorm1d → ReLU → Dropout`: in MTOReclib a dropout of 0 is no module, in MTReclib it is one, and STEM has no
/// normalisation.
#[test]
fn a_dropout_moves_the_indices_of_pytorchs_modules() {
    let indices = |arch: Arch, module: &str| -> Vec<usize> {
        let network = network(arch, 2);
        let weights = network.tensors.iter().filter(|tensor| tensor.shape.len() == 2);
        weights.filter_map(|tensor| number(&tensor.name, &format!("{module}.mlp."))).collect()
    };
    let cases: [Case; 9] = [
        (|dropout| SingleTask { dropout }.into(), "bottom.1", &[0, 4], &[0, 3]),
        (|dropout| SharedBottom { dropout }.into(), "bottom", &[0, 4], &[0, 3]),
        (|dropout| Mmoe { dropout, ..Mmoe::default() }.into(), "tower.0", &[0, 4, 8], &[0, 3, 6]),
        (|dropout| Ple { dropout, ..Ple::default() }.into(), "task_experts.1.0.3", &[0], &[0]),
        (|dropout| Aitm { dropout }.into(), "tower.1", &[0, 4, 8], &[0, 3, 6]),
        (|dropout| Stem { dropout, ..Stem::default() }.into(), "tower.1", &[0, 3, 6], &[0, 2, 4]),
        (
            |dropout| Stem { dropout, layers: 2, ..Stem::default() }.into(),
            "stem_layers.1.specific_experts.1.3",
            &[0, 3, 6],
            &[0, 2, 4],
        ),
        (|dropout| Stem { dropout, ..Stem::default() }.into(), "stem_layers.0.gate.2", &[0, 3, 6], &[0, 2, 4]),
        (|dropout| MetaHeac { dropout, ..MetaHeac::default() }.into(), "model.critic.4", &[0, 4, 8], &[0, 4, 8]),
    ];
    for (arch, module, with, without) in cases {
        assert_eq!(indices(arch(0.2), module), with, "{module} with dropout");
        assert_eq!(indices(arch(0.0), module), without, "{module} without");
    }
}
