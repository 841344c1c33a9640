//! The step on tensors, held to the step on plain vectors.

use ron::extensions::Extensions;
use serde::de::DeserializeOwned;

use super::Trainer;
use crate::balance::driver::{Driver, Rates};
use crate::balance::{Balancer, Method};
use crate::data::{Field, RawBatch, Schema};
use crate::model::{Network, SharedBottom, Sizes};
use crate::nn::Batch;
use crate::optim::Adam;
use crate::tensor::{Cpu, Gradients, Kernels, Key, Mode, Owner, ParamId, Params, Tape, Workspace};

const ROWS: usize = 24;

fn schema(tasks: usize) -> Schema {
    let field = |f: usize| Field { name: format!("f{f}"), size: 3 + f, out_of_vocabulary: None };
    Schema {
        fields: (0..2).map(field).collect(),
        numerical: vec!["x".into()],
        tasks: (0..tasks).map(|k| format!("t{k}")).collect(),
    }
}

/// Rows that take every id of every field, so that compact rows are the rows of the table.
fn raw(tasks: usize, at: usize) -> RawBatch {
    let row = |b: usize| b + 7 * at;
    RawBatch {
        rows: ROWS,
        categorical: (0..ROWS).flat_map(|b| [(row(b) % 3) as u32, (row(b) % 4) as u32]).collect(),
        numerical: (0..ROWS).map(|b| ((row(b) * 13) % 17) as f32 / 17.0).collect(),
        labels: (0..tasks * ROWS).map(|i| f32::from((i * 5 + i / 7 + row(0)) % (3 + i / ROWS) == 0)).collect(),
    }
}

/// An architecture or a balancer, as a pipeline file would spell it.
pub(super) fn read<T: DeserializeOwned>(text: &str) -> T {
    let options = ron::Options::default().with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES);
    options.from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn network(tasks: usize) -> Network<Cpu> {
    let arch = SharedBottom { dropout: 0.0 }.into();
    let sizes = Sizes::Custom { embed: 4, bottom: (6, 5), tower: (4, 3) };
    Network::build(&arch, &sizes, &schema(tasks), 3, &Cpu::default()).unwrap()
}

fn shared(params: &Params<Cpu>) -> Vec<ParamId> {
    params.shared().map(|(id, _)| id).collect()
}

fn values(params: &Params<Cpu>, ids: &[ParamId]) -> Vec<f64> {
    ids.iter().flat_map(|id| params[*id].value.as_vec()).map(f64::from).collect()
}

/// The losses and the task gradients of some shared parameters.
fn gradients(network: &Network<Cpu>, batch: &Batch<Cpu>, ids: &[ParamId]) -> (Vec<f64>, Vec<Vec<f64>>) {
    let workspace = Workspace::new(&Cpu::default());
    let tape = Tape::new(&network.params, &workspace, Mode::Train { key: Key::of_step(0, 0) });
    let losses = network.losses(&tape, batch);
    let of = |(scalar, _): &(_, f64)| {
        let mut set = Gradients::default();
        tape.backward(&[(*scalar, 1.0)], &mut set);
        ids.iter().flat_map(|id| set.get(*id).unwrap().as_vec()).map(f64::from).collect()
    };
    (losses.iter().map(|(_, loss)| *loss).collect(), losses.iter().map(of).collect())
}

fn all() -> Vec<Balancer> {
    let mut all: Vec<String> = Balancer::entries().into_iter().map(|entry| entry.defaults).collect();
    all.extend(
        [
            "NashMtl(update_weights_every: 2)",
            "Pub(update_weights_every: 1, scale: Raw)",
            "MoCo(libmtl_variant: true)",
            "SdmGrad(reference_sgd: true)",
            "TrimmedMean(trim: 1)",
            "GradDrop(leak: [0.1, 0.2, 0.3])",
            "AdaTask(task_weights: [1.0, 2.0, 0.5])",
            "ClippyAdam(of: Uw(), rel: 0.01, abs: 0.001)",
        ]
        .map(str::to_owned),
    );
    all.iter().map(|text| read(text)).collect()
}

/// A number of tasks that the balancer takes.
fn tasks_for(balancer: &Balancer) -> usize {
    [3, 4, 2].into_iter().find(|tasks| balancer.build(*tasks).is_ok()).expect("a balancer for 2, 3 or 4 tasks")
}

/// A balancer whose update looks at whole tensors has a driver for each of them; the others have one for all.
fn drivers(balancer: &Balancer, network: &Network<Cpu>, adam: &Adam, tasks: usize) -> Vec<(Vec<ParamId>, Driver)> {
    let ids = shared(&network.params);
    let whole = matches!(balancer.build(tasks), Ok(Method::Clipped(..)));
    let groups = if whole { ids.into_iter().map(|id| vec![id]).collect() } else { vec![ids] };
    let rates = Rates { lr: adam.lr, betas: adam.betas, eps: adam.eps, weight_decay: adam.weight_decay };
    let driver = |ids: Vec<ParamId>| {
        let theta = values(&network.params, &ids);
        (ids, Driver::new(balancer.build(tasks).unwrap(), rates, theta, 5))
    };
    groups.into_iter().map(driver).collect()
}

#[test]
fn every_balancer_steps_as_on_plain_vectors() {
    // an ε beside which the rounding of gradients is small, or Adam would blow it up to whole steps
    for weight_decay in [0.0, 0.1] {
        let adam = Adam { lr: 1e-2, weight_decay, eps: 1e-2, ..Adam::default() };
        for balancer in all() {
            let tasks = tasks_for(&balancer);
            let name = format!("{} with weight decay {weight_decay}", crate::registry::to_ron(&balancer));
            let workspace = Workspace::new(&Cpu::default());
            let mut trainer = Trainer::new(network(tasks), adam, balancer.build(tasks).unwrap(), 5);
            let mut drivers = drivers(&balancer, &trainer.network, &adam, tasks);
            let mut slot = trainer.network.batch_slot(&schema(tasks));
            for at in 0..5 {
                let parts = slot.load(&raw(tasks, at), trainer.parts());
                for (ids, driver) in &mut drivers {
                    let of_parts: Vec<_> = parts.iter().map(|part| gradients(&trainer.network, part, ids)).collect();
                    let mean =
                        |k: usize| of_parts.iter().map(|(losses, _)| losses[k]).sum::<f64>() / parts.len() as f64;
                    let losses: Vec<f64> = (0..tasks).map(mean).collect();
                    let batches: Vec<Vec<Vec<f64>>> = of_parts.into_iter().map(|(_, gradients)| gradients).collect();
                    driver.step(0, &losses, &batches);
                }
                trainer.step(parts, 0, at == 2, &workspace);
                if drivers[0].1.wants_losses_after_step() {
                    let (losses, _) = gradients(&trainer.network, &parts[0], &drivers[0].0);
                    drivers.iter_mut().for_each(|(_, driver)| driver.after_step(&losses));
                }
            }
            trainer.settle();
            for (ids, driver) in &drivers {
                for (found, expected) in values(&trainer.network.params, ids).iter().zip(driver.theta()) {
                    assert!((found - expected).abs() < 2e-5 * (1.0 + expected.abs()), "{name}: {found} {expected}");
                }
            }
        }
    }
}

#[test]
fn looking_at_the_gradients_changes_nothing() {
    for balancer in all() {
        let tasks = tasks_for(&balancer);
        let run = |look: bool| {
            let workspace = Workspace::new(&Cpu::default());
            let mut trainer = Trainer::new(network(tasks), Adam::default(), balancer.build(tasks).unwrap(), 5);
            let mut slot = trainer.network.batch_slot(&schema(tasks));
            for at in 0..3 {
                let report = trainer.step(slot.load(&raw(tasks, at), trainer.parts()), 0, look, &workspace);
                let gram = report.gram;
                // a Gram balancer in a step without a fresh matrix is not disturbed
                let may_lack =
                    matches!(&balancer, Balancer::NashMtl(hyper) if hyper.update_weights_every > 1) && at == 1;
                let seen = gram.is_some_and(|gram| gram.tasks() == tasks && gram.is_finite());
                assert!(!look || seen || may_lack, "{} in step {at}", balancer.name());
            }
            trainer.save().unwrap()
        };
        assert!(run(true) == run(false), "{}", balancer.name());
    }
}

/// Of a table's rows, those that a batch does not take have gradient zero: whether the gradients say so or leave it out.
#[test]
fn rows_outside_the_batch_have_gradient_zero() {
    use crate::tensor::{AdamStep, FieldIds, FieldLayout, Held, StepBounds};
    let device = Cpu::default();
    let (rows, width) = (50, 40);
    let layout = FieldLayout::new([rows], width);
    let mut ids = FieldIds::default();
    ids.index(&layout, &[3, 41, 7, 3, 0], 5);
    let noise = |len: usize, seed: f32| -> Vec<f32> { (0..len).map(|i| (i as f32 * 0.37 + seed).sin()).collect() };
    let compact: Vec<Vec<f32>> = (0..2).map(|k| noise(ids.len() * width, k as f32)).collect();
    let expand = |compact: &Vec<f32>| {
        let mut whole = vec![0.0; rows * width];
        for (row, values) in ids.rows.iter().zip(compact.chunks(width)) {
            whole[*row as usize * width..][..width].copy_from_slice(values);
        }
        whole
    };
    let step = AdamStep {
        index: 3,
        step_size: 0.01,
        beta1: 0.9,
        beta2: 0.999,
        root_correction2: 0.05,
        eps: 1e-8,
        weight_decay: 0.0,
        keep: 0.999,
    };
    let run = |held: Held<Cpu>, gradients: [Vec<f32>; 2]| {
        let gradients = gradients.map(|g| device.upload(&g));
        let of_tasks = [Some(&gradients[0]), Some(&gradients[1])];
        let start = || {
            let squares: Vec<f32> = noise(rows * width, 9.0).iter().map(|x| x * x + 0.1).collect();
            [noise(rows * width, 5.0), noise(rows * width, 6.0), squares].map(|x| device.upload(&x))
        };
        let mut out = Vec::new();
        let [mut value, mut m, mut v] = start();
        let mut gram = vec![0.0; 4];
        device.add_update_gram(&step, held, (&m, &v), &of_tasks, &mut gram);
        device.adam_by_task(&step, held, &mut value, (&mut m, &mut v), &of_tasks, &[0.3, 1.7]);
        out.extend([value.as_vec(), m.as_vec(), v.as_vec()]);
        let (mut average, mut sums) = (device.upload(&noise(rows * width, 1.0)), device.zeros(rows * width));
        device.blend(held, &gradients[0], 0.9, 0.1, &mut average);
        let excess = device.excess(held, &gradients[0], &mut sums);
        out.extend([average.as_vec(), sums.as_vec()]);
        let [mut value, mut m, mut v] = start();
        let bounds = StepBounds { relative: 1e9, absolute: 1e9 };
        let terms = [(1.0, &gradients[0]), (0.5, &gradients[1])];
        device.clipped_adam(&step, bounds, held, &mut value, (&mut m, &mut v), &terms);
        out.extend([value.as_vec(), m.as_vec(), v.as_vec()]);
        (out, gram, excess)
    };
    let held = Held::Rows { width, ids: &ids };
    let (rowwise, gram, excess) = run(held, [compact[0].clone(), compact[1].clone()]);
    let (whole, whole_gram, whole_excess) = run(Held::All, [expand(&compact[0]), expand(&compact[1])]);
    assert_eq!(rowwise, whole);
    assert!((excess - whole_excess).abs() < 1e-6 * whole_excess);
    assert!(gram.iter().zip(&whole_gram).all(|(a, b)| (a - b).abs() < 1e-6 * b.abs()), "{gram:?} {whole_gram:?}");
    // of a table, the batch's rows alone bound a clipped step
    let clip = |held: Held<Cpu>| {
        let mut value = device.upload(&vec![0.0; rows * width]);
        let (mut m, mut v) = (device.upload(&vec![1.0; rows * width]), device.upload(&vec![1e-8; rows * width]));
        let gradient = device.upload(&vec![1e3; ids.len() * width]);
        let bounds = StepBounds { relative: 0.0, absolute: 1e-4 };
        device.clipped_adam(&step, bounds, held, &mut value, (&mut m, &mut v), &[(1.0, &gradient)]);
        value.as_vec()
    };
    let moved = clip(held);
    let inside = |i: &usize| ids.rows.contains(&((i / width) as u32));
    let most = |wanted: bool| {
        let of = (0..rows * width).filter(|i| inside(i) == wanted).map(|i| moved[i].abs());
        of.fold(0.0, f32::max)
    };
    assert!((most(true) - 1e-4).abs() < 1e-7 && most(false) > 1e-3, "{} {}", most(true), most(false));
}

#[test]
fn owners_of_this_network_are_what_the_test_takes_them_for() {
    let network = network(3);
    assert!(network.params.iter().any(|(_, param)| param.owner == Owner::Task(2)));
    assert!(!shared(&network.params).is_empty());
}
