//! Training with a GPU's kernels goes where it goes on the processor: every model with every balancer.

use super::Trainer;
use super::tests::read;
use crate::balance::Balancer;
use crate::data::{Field, RawBatch, Schema};
use crate::model::{Arch, Network, Sizes};
use crate::optim::Adam;
use crate::tensor::gpu::emulated::Emulated;
use crate::tensor::{Cpu, Kernels, Workspace};

const ROWS: usize = 48;
const STEPS: usize = 4;

/// Fields of which batches see some ids only, never the same.
fn schema(tasks: usize) -> Schema {
    let field = |f: usize| Field { name: format!("f{f}"), size: [5, 40, 300][f], out_of_vocabulary: None };
    Schema {
        fields: (0..3).map(field).collect(),
        numerical: vec!["x".into(), "y".into()],
        tasks: (0..tasks).map(|k| format!("t{k}")).collect(),
    }
}

fn batch(tasks: usize, step: usize) -> RawBatch {
    let row = |b: usize| b * 7 + b / 5 + step * 31;
    let ids = |b: usize| [row(b) % 4, row(b) % (17 + step), row(b) * row(b) % 300].map(|id| id as u32);
    RawBatch {
        rows: ROWS,
        categorical: (0..ROWS).flat_map(ids).collect(),
        numerical: (0..2 * ROWS).map(|i| ((row(i) * 13) % 17) as f32 / 8.0 - 1.0).collect(),
        labels: (0..tasks * ROWS).map(|i| f32::from((row(i) + i / ROWS).is_multiple_of(2 + i / ROWS))).collect(),
    }
}

/// Losses and weights of some steps, and what has been learnt.
struct Course {
    losses: Vec<f64>,
    weights: Vec<f64>,
    saved: Vec<u8>,
}

/// Nothing when there is no such pair.
fn train<D: Kernels>(device: &D, arch: &Arch, balancer: &Balancer, weight_decay: f64) -> Option<Course> {
    let tasks = if balancer.build(2).is_ok() { 2 } else { 4 };
    let network = Network::build(arch, &Sizes::Tiny, &schema(tasks), 3, device).ok()?;
    let mut slot = network.batch_slot(&schema(tasks));
    let workspace = Workspace::new(device);
    let adam = Adam { lr: 1e-3, weight_decay, ..Adam::default() };
    let mut trainer = Trainer::new(network, adam, balancer.build(tasks).ok()?, 1);
    let (mut losses, mut weights) = (Vec::new(), Vec::new());
    for step in 0..STEPS {
        if trainer.adapts() {
            let parts = trainer.parts();
            trainer.adapt(slot.load(&batch(tasks, step + 100), parts), &workspace);
        }
        let report = trainer.step(slot.load(&batch(tasks, step), trainer.parts()), 0, step == 1, &workspace);
        losses.extend(report.losses);
        weights.extend(report.weights);
    }
    trainer.settle();
    Some(Course { losses, weights, saved: trainer.save().ok()? })
}

/// What `ours` and `theirs` are apart, as a share of the larger of 1 and the second.
fn apart(ours: &[f64], theirs: &[f64]) -> f64 {
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(theirs).map(|(a, b)| (a - b).abs() / b.abs().max(1.0)).fold(0.0, f64::max)
}

#[test]
fn every_pair_goes_the_same_way_in_the_gpus_kernels() {
    Emulated::open().iter().for_each(every_pair);
}

#[cfg(feature = "cuda")]
#[test]
fn every_pair_goes_the_same_way_on_a_gpu() {
    match crate::tensor::Cuda::open(0) {
        Ok(gpu) => every_pair(&gpu),
        Err(fault) => eprintln!("skipped: {}", fault.message),
    }
}

fn every_pair<D: Kernels>(gpu: &D) {
    let (mut astray, mut pairs) = (Vec::new(), 0);
    for arch in Arch::entries() {
        for (i, balancer) in Balancer::entries().into_iter().enumerate() {
            let pair = format!("{} with {}", arch.name, balancer.name);
            let (arch, balancer): (Arch, Balancer) = (read(&arch.defaults), read(&balancer.defaults));
            // with weight decay every row of a table moves in every step, without it rows wait
            let decay = [0.0, 1e-2][i % 2];
            let Some(theirs) = train(&Cpu::default(), &arch, &balancer, decay) else { continue };
            pairs += 1;
            let ours = train(gpu, &arch, &balancer, decay).expect("a pair of the processor's");
            let distances = [apart(&ours.losses, &theirs.losses), apart(&ours.weights, &theirs.weights)];
            if distances[0] > 1e-4 || distances[1] > 5e-3 {
                astray.push(format!("{pair}: losses {:.1e}, weights {:.1e} apart", distances[0], distances[1]));
            }
        }
    }
    // ESMM is for two tasks, which not every balancer is
    assert!(pairs > (Arch::entries().len() - 1) * Balancer::entries().len(), "{pairs} pairs");
    assert!(astray.is_empty(), "these go another way: {astray:#?}");
}

#[test]
fn a_gpus_training_repeats_and_moves_to_the_processor() {
    let Some(gpu) = Emulated::open() else { return };
    let (arch, balancer): (Arch, Balancer) = (read("Mmoe()"), read("Famo()"));
    let course = train(&gpu, &arch, &balancer, 1e-6).unwrap();
    assert!(train(&gpu, &arch, &balancer, 1e-6).unwrap().saved == course.saved, "the same bits again");
    let network = Network::build(&arch, &Sizes::Tiny, &schema(2), 9, &Cpu::default()).unwrap();
    let mut other = Trainer::new(network, Adam { lr: 1e-3, ..Adam::default() }, balancer.build(2).unwrap(), 1);
    other.restore(&course.saved).unwrap();
    assert!(other.save().unwrap() == course.saved, "and here");
}
