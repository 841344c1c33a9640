//! What holds for every registered balancer, and the invariants of the methods on random problems.

use proptest::prelude::*;
use ron::extensions::Extensions;

use super::gram::Gram;
use super::solver::random_grams;
use super::{Balancer, Coefficients, Memory, Method, Step};

/// Every registered balancer with its defaults, as the language reads them back.
fn all() -> Vec<Balancer> {
    let options = ron::Options::default().with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES);
    Balancer::entries().iter().map(|entry| options.from_str(&entry.defaults).expect("defaults parse")).collect()
}

fn parse(ron: &str) -> Balancer {
    let options = ron::Options::default().with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES);
    options.from_str(ron).unwrap_or_else(|error| panic!("{ron}: {error}"))
}

/// Losses that change from step to step, a function of the step alone.
fn losses(tasks: usize, index: u64) -> Vec<f64> {
    (0..tasks).map(|k| 0.7 + 0.5 * ((index as f64) * 0.9 + k as f64 * 1.7).sin()).collect()
}

/// One step as a trainer does it.
fn step(method: &mut Method, index: u64, gram: &Gram) -> Coefficients {
    step_with(method, index, &losses(gram.tasks(), index), gram)
}

fn step_with(method: &mut Method, index: u64, losses: &[f64], gram: &Gram) -> Coefficients {
    let step = Step { index, epoch: index / 3, seed: 11, losses };
    match method {
        Method::Loss(balancer) => {
            let weights = balancer.weights(&step);
            if balancer.wants_losses_after_step() {
                let after: Vec<f64> = losses.iter().enumerate().map(|(k, l)| l * (0.9 - 0.1 * k as f64)).collect();
                balancer.after_step(&after);
            }
            Coefficients { task: weights.clone(), shared: weights, max_norm: None }
        }
        Method::Gram(balancer) => match balancer.without_gram(&step) {
            Some(stale) => stale,
            None => balancer.coefficients(&step, gram),
        },
        // the Gram matrix is taken for that of the averages, of two batches, of the updates
        Method::Track(balancer) => {
            for k in 0..losses.len() {
                let blend = balancer.blend(&step, k, &|| gram[(k, k)].max(0.0).sqrt());
                assert!(!all_finite(losses) || (blend.keep.is_finite() && blend.take.is_finite()), "{blend:?}");
            }
            balancer.coefficients(&step, gram)
        }
        Method::Cross(balancer) => {
            let cross: Vec<Vec<f64>> = (0..losses.len()).map(|k| gram.row(k).to_vec()).collect();
            let all = balancer.coefficients(&step, &cross);
            let sum = |of: fn(&Coefficients) -> &Vec<f64>| {
                (0..losses.len()).map(|k| all.iter().map(|batch| of(batch)[k]).sum()).collect()
            };
            Coefficients { shared: sum(|batch| &batch.shared), task: sum(|batch| &batch.task), max_norm: None }
        }
        Method::Excess(balancer) => {
            let weights = balancer.weights(&step, &gram.diagonal());
            Coefficients { task: weights.clone(), shared: weights, max_norm: None }
        }
        Method::Element(balancer) => {
            let columns: Vec<Vec<f32>> = (0..losses.len())
                .map(|k| gram.row(k).iter().map(|x| (*x as f32).clamp(-1e30, 1e30)).collect())
                .collect();
            let columns: Vec<&[f32]> = columns.iter().map(Vec::as_slice).collect();
            let mut out = vec![f32::NAN; losses.len()];
            balancer.combine(&step, 0, &columns, &mut out);
            assert!(!gram.is_finite() || out.iter().all(|x| x.is_finite()), "{out:?}");
            Coefficients::tasks_alone(vec![1.0; losses.len()])
        }
        Method::Update(balancer) => Coefficients::tasks_alone(match balancer.without_gram(&step) {
            Some(stale) => stale,
            None => balancer.weights(&step, gram),
        }),
        Method::TaskAdam(weights) => Coefficients { shared: weights.clone(), task: weights.clone(), max_norm: None },
        Method::Clipped(of, _) => step_with(of, index, losses, gram),
    }
}

fn all_finite(numbers: &[f64]) -> bool {
    numbers.iter().all(|number| number.is_finite())
}

fn finite(coefficients: &Coefficients) -> bool {
    coefficients.shared.iter().chain(&coefficients.task).all(|w| w.is_finite())
}

#[test]
fn every_balancer_can_be_written_without_hyper_parameters() {
    for balancer in all() {
        assert_eq!(parse(&format!("{}()", balancer.name())), balancer);
        assert!(balancer.build(0).is_err());
    }
    assert_eq!(parse("Famo(gamma: 0.001)"), Balancer::Famo(Default::default()));
    assert_eq!(parse("NashMtl(scale: Paper, max_norm: Some(1.0))"), Balancer::NashMtl(Default::default()));
    let nested = parse("CrMogm(of: CaGrad(c: 0.2), alpha: 0.5)");
    assert!(crate::registry::to_ron(&nested).contains("CaGrad(c:0.2"));
}

#[test]
fn senseless_hyper_parameters_are_refused_by_name() {
    for (ron, problem) in [
        ("Ls(task_weights: [1.0])", "Ls: `task_weights` has 1 entries, expected one for each of the 2 tasks"),
        ("Ls(task_weights: [0.0, 0.0])", "Ls: `task_weights` must not be all zero"),
        (
            "ScaleInvariantLs(task_weights: [1.0, -1.0])",
            "ScaleInvariantLs: `task_weights` must be 0 or above, found -1",
        ),
        ("Stl(main_task: 2)", "Stl: `main_task` is 2, expected at most 1 (of 2 tasks)"),
        ("Uw(lr: -0.1)", "Uw: `lr` must be 0 or above, found -0.1"),
        ("Famo(gamma: -1.0)", "Famo: `gamma` must be 0 or above, found -1"),
        ("Famo(lower_bounds: [NaN, 0.0])", "Famo: `lower_bounds` must be a finite number, found NaN"),
        ("Dwa(temperature: 0.0)", "Dwa: `temperature` must be above 0, found 0"),
        ("Dwa(window: Epochs(0))", "Dwa: `window` must be at least one epoch or step"),
        ("Stch(mu: 0.0)", "Stch: `mu` must be above 0, found 0"),
        ("StchRaw(mu: inf)", "StchRaw: `mu` must be above 0, found inf"),
        ("BanditMtl(rho: 0.0)", "BanditMtl: `rho` must be above 0, found 0"),
        ("GradVac(beta: 1.5)", "GradVac: `beta` must lie between 0 and 1, found 1.5"),
        ("CaGrad(c: -0.1)", "CaGrad: `c` must be 0 or above, found -0.1"),
        ("LogCaGrad(rescale: 3)", "LogCaGrad: `rescale` must be 0, 1 or 2, found 3"),
        ("NashMtl(max_norm: Some(0.0))", "NashMtl: `max_norm` must be above 0, found 0"),
        ("NashMtl(update_weights_every: 0)", "NashMtl: `update_weights_every` must be at least 1, found 0"),
        ("FairGrad(alpha: -1.0)", "FairGrad: `alpha` must be 0 or above, found -1"),
        ("Krum()", "Krum: needs at least `byzantine` + 3 tasks, found 2 with `byzantine` 1"),
        ("ParetoMtl(chosen: 5)", "ParetoMtl: `chosen` is 5, expected at most 4 (of 5 preferences)"),
        ("DbMtl(beta: 1.0)", "DbMtl: `beta` must be below 1 where `sigma` is 0: no gradient would ever come in"),
        ("MoCo(beta: 0.0)", "MoCo: `beta` must be above 0, found 0"),
        ("MoDo(gamma: -1.0)", "MoDo: `gamma` must be 0 or above, found -1"),
        ("SdmGrad(momentum: 2.0)", "SdmGrad: `momentum` must lie between 0 and 1, found 2"),
        ("ExcessMtl(warm_up: Steps(0))", "ExcessMtl: `warm_up` must be at least one epoch or step"),
        ("GradDrop(leak: [0.0, 2.0])", "GradDrop: `leak` must lie between 0 and 1, found 2"),
        ("TrimmedMean(trim: 1)", "TrimmedMean: needs at least 2·`trim` + 1 tasks, found 2 with `trim` 1"),
        ("AdaTask(task_weights: [1.0])", "AdaTask: `task_weights` has 1 entries, expected one for each of the 2 tasks"),
        ("ClippyAdam(rel: 0.0, abs: 0.0)", "ClippyAdam: `rel` and `abs` must not both be 0: nothing would ever move"),
        (
            "ClippyAdam(of: Pub())",
            "ClippyAdam: `of` must be a balancer of losses or of the Gram matrix, `Pub` is neither",
        ),
        ("Pub(update_weights_every: 0)", "Pub: `update_weights_every` must be at least 1, found 0"),
        ("CrMogm(of: Uw())", "CrMogm: `of` must be a balancer of the Gram matrix, which `Uw` is not"),
        ("CrMogm(of: Krum())", "CrMogm: Krum: needs at least `byzantine` + 3 tasks, found 2 with `byzantine` 1"),
    ] {
        assert_eq!(parse(ron).build(2).err().as_deref(), Some(problem), "{ron}");
    }
}

#[test]
fn a_balancer_resumes_to_the_bit() {
    let mut balancers = all();
    balancers.extend(
        [
            "NashMtl(update_weights_every: 4)",
            "GradNorm(init: Steps(2))",
            "Stch(warmup: Steps(2), measure: Steps(2))",
            "Dwa(window: Steps(2))",
            "CrMogm(of: GradVac())",
        ]
        .map(parse),
    );
    for balancer in balancers {
        for tasks in 1..=5 {
            let Ok(mut whole) = balancer.build(tasks) else { continue };
            let grams: Vec<Gram> = random_grams(tasks..=tasks, 24).map(|(_, gram)| gram).collect();
            for stop in [0, 1, 7, 12] {
                let mut first = balancer.build(tasks).unwrap();
                (0..stop).for_each(|index| drop(step(&mut first, index, &grams[index as usize])));
                let saved = serde_json::to_string(&first.save()).unwrap();
                let mut second = balancer.build(tasks).unwrap();
                second.restore(&serde_json::from_str(&saved).unwrap()).unwrap();
                for index in stop..24 {
                    let gram = &grams[index as usize];
                    let (one, two) = (step(&mut first, index, gram), step(&mut second, index, gram));
                    assert_eq!(one, two, "{} with {tasks} tasks, stopped at {stop}, step {index}", balancer.name());
                }
                assert_eq!(first.save(), second.save());
            }
            // A memory of another shape is refused, not taken up.
            (0..5).for_each(|index| drop(step(&mut whole, index, &grams[index as usize])));
            assert!(whole.save().is_null() || whole.restore(&serde_json::json!({"other": [1.0]})).is_err());
        }
    }
}

#[test]
fn a_memory_of_another_number_of_tasks_is_refused() {
    let (two, three) =
        (Gram::from_fn(2, |i, j| f64::from(u8::from(i == j))), Gram::from_fn(3, |i, j| f64::from(u8::from(i == j))));
    for balancer in all() {
        let (Ok(mut of_two), Ok(mut of_three)) = (balancer.build(2), balancer.build(3)) else { continue };
        step(&mut of_two, 0, &two);
        step(&mut of_three, 0, &three);
        let saved = of_two.save();
        assert!(saved.is_null() || of_three.restore(&saved).is_err(), "{}: {saved}", balancer.name());
    }
}

#[test]
fn degenerate_problems_give_finite_coefficients() {
    for balancer in all() {
        let Some(tasks) = (1..=6).find(|tasks| balancer.build(*tasks).is_ok()) else { panic!("{}", balancer.name()) };
        for (seed, gram) in random_grams(tasks..=tasks.max(4), 600) {
            let Ok(mut method) = balancer.build(gram.tasks()) else { continue };
            let scale = [1.0, 1e-15, 1e15][seed as usize % 3 * usize::from(seed > 300)];
            let gram = gram.scaled(&vec![scale; gram.tasks()]);
            for index in 0..7 {
                let coefficients = step(&mut method, index, &gram);
                assert!(finite(&coefficients), "{} on {seed}, step {index}: {coefficients:?}", balancer.name());
            }
            let zero_losses = vec![0.0; gram.tasks()];
            let coefficients = step_with(&mut method, 7, &zero_losses, &gram);
            assert!(finite(&coefficients), "{} on {seed}, losses 0: {coefficients:?}", balancer.name());
        }
    }
}

#[test]
fn without_shared_gradients_each_task_trains_alone() {
    for balancer in all() {
        for tasks in 1..=5 {
            let Ok(mut method) = balancer.build(tasks) else { continue };
            if matches!(method, Method::Loss(_) | Method::Clipped(..)) {
                continue;
            }
            for index in 0..4 {
                let coefficients = step(&mut method, index, &Gram::from_fn(tasks, |_, _| 0.0));
                assert!(finite(&coefficients), "{}: {coefficients:?}", balancer.name());
                assert!(coefficients.task.iter().all(|w| *w > 0.0), "{}: {coefficients:?}", balancer.name());
            }
        }
    }
}

#[test]
fn numbers_that_are_not_finite_come_out_as_such_and_leave_no_trace() {
    let gram = Gram::from_rows(&[[4.0, -2.0], [-2.0, 5.0]]).unwrap();
    let broken = Gram::from_rows(&[[4.0, -2.0], [-2.0, f64::INFINITY]]).unwrap();
    for balancer in all() {
        let Ok(mut method) = balancer.build(2) else { continue };
        step(&mut method, 0, &gram);
        let before = method.save();
        if matches!(method, Method::Element(_) | Method::TaskAdam(_)) {
            // without coefficients of their own: what is not a number stays one in the gradients
            continue;
        }
        let coefficients = step_with(&mut method, 1, &[f64::NAN, 0.5], &gram);
        assert!(coefficients.shared.iter().all(|w| w.is_nan()), "{}: {coefficients:?}", balancer.name());
        if let Method::Gram(_) = method {
            let coefficients = step(&mut method, 1, &broken);
            assert!(coefficients.shared.iter().all(|w| w.is_nan()), "{}: {coefficients:?}", balancer.name());
        }
        assert_eq!(method.save(), before, "{}", balancer.name());
    }
}

#[test]
fn one_task_keeps_its_direction() {
    let gram = Gram::from_rows(&[[9.0]]).unwrap();
    for balancer in all() {
        let Ok(mut method) = balancer.build(1) else { continue };
        for index in 0..10 {
            let coefficients = step(&mut method, index, &gram);
            assert!(
                coefficients.shared[0] > 0.0 && coefficients.task[0] > 0.0,
                "{}: {coefficients:?}",
                balancer.name()
            );
        }
    }
}

/// The order of the tasks does not matter, except where it is drawn at random.
#[test]
fn renaming_the_tasks_renames_the_coefficients() {
    for balancer in all() {
        if matches!(balancer, Balancer::PcGrad(_) | Balancer::GradVac(_)) {
            continue;
        }
        for (seed, gram) in random_grams(2..=5, 1200).filter(|(seed, _)| matches!(seed % 6, 0 | 5)) {
            let n = gram.tasks();
            // With four tasks, Krum's two nearest neighbours always tie.
            if matches!(balancer, Balancer::Krum(_)) && n == 4 {
                continue;
            }
            let (Ok(mut one), Ok(mut other)) = (balancer.build(n), balancer.build(n)) else { continue };
            if matches!(one, Method::Loss(_)) {
                continue;
            }
            let order: Vec<usize> = (0..n).map(|k| (k + 1 + seed as usize % n) % n).collect();
            for index in 0..3 {
                let losses = losses(n, index);
                let renamed: Vec<f64> = order.iter().map(|&k| losses[k]).collect();
                let there = step_with(&mut one, index, &losses, &gram);
                let back = step_with(&mut other, index, &renamed, &gram.of_tasks(&order));
                let norms = gram.norms();
                // Coefficients matter by the gradients they multiply.
                let piece = there.shared.iter().zip(&norms).map(|(w, n)| (w * n).abs()).fold(1e-300, f64::max);
                for (place, &k) in order.iter().enumerate() {
                    let difference = (there.shared[k] - back.shared[place]).abs() * norms[k];
                    assert!(difference <= 1e-5 * piece, "{} on {seed}: {there:?} {back:?}", balancer.name());
                }
            }
        }
    }
}

/// Rows of gradients with entries in [−2, 2], none shorter than 0.1.
fn gradients(tasks: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<Vec<f64>>> {
    tasks
        .prop_flat_map(|tasks| prop::collection::vec(prop::collection::vec(-2.0..2.0, tasks + 3), tasks))
        .prop_filter("short", |rows: &Vec<Vec<f64>>| {
            rows.iter().all(|row| row.iter().map(|x| x * x).sum::<f64>() > 0.01)
        })
}

fn shared(ron: &str, gram: &Gram) -> Vec<f64> {
    let mut method = parse(ron).build(gram.tasks()).unwrap();
    step(&mut method, 0, gram).shared
}

proptest! {
    #[test]
    fn bargaining_is_fair_and_scales(rows in gradients(2..=6), scale in 0.01f64..100.0) {
        let gram = Gram::from_gradients(&rows).unwrap();
        let k = gram.tasks();
        for method in ["NashMtl()", "FairGrad()"] {
            let w = shared(method, &gram);
            for (w, product) in w.iter().zip(gram.mul(&w)) {
                prop_assert!((w * product - 1.0).abs() < 1e-8);
            }
            prop_assert!((gram.quadratic(&w) - k as f64).abs() < 1e-7);
            let scaled = shared(method, &gram.scaled(&vec![scale; k]));
            for (w, scaled) in w.iter().zip(scaled) {
                prop_assert!((w / scale - scaled).abs() < 1e-7 * scaled.abs());
            }
        }
    }

    #[test]
    fn multiple_gradient_descent_helps_every_task(rows in gradients(2..=6)) {
        let gram = Gram::from_gradients(&rows).unwrap();
        let a = shared("Mgda(combine: Normalised)", &gram);
        let value = gram.quadratic(&a);
        prop_assert!(gram.mul(&a).iter().all(|product| *product >= value - 1e-9));
        prop_assert!((a.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn projections_are_equal(rows in gradients(2..=5)) {
        let gram = Gram::from_gradients(&rows).unwrap();
        let norms = gram.norms();
        let well_conditioned = super::solver::eigen(&Gram::from_fn(gram.tasks(), |i, j| gram.cos(i, j))).values.last() > Some(&1e-3);
        if well_conditioned {
            for method in ["ImtlG()", "ConFig()"] {
                let w = shared(method, &gram);
                let projections: Vec<f64> = gram.mul(&w).iter().zip(&norms).map(|(p, n)| p / n).collect();
                let size = w.iter().zip(&norms).map(|(w, n)| (w * n).abs()).fold(0.0, f64::max);
                prop_assert!(projections.iter().all(|p| (p - projections[0]).abs() < 1e-9 * size), "{projections:?}");
                prop_assert!(method == "ImtlG()" || projections[0] >= 0.0);
            }
            prop_assert!((shared("ImtlG()", &gram).iter().sum::<f64>() - 1.0).abs() < 1e-9);
        }
    }

    #[test]
    fn the_cone_has_no_conflict(rows in gradients(2..=7)) {
        let gram = Gram::from_gradients(&rows).unwrap();
        for method in ["UpGrad()", "DualProj()"] {
            let w = shared(method, &gram);
            let size = w.iter().zip(gram.norms()).map(|(w, n)| w * n).fold(0.0, f64::max);
            prop_assert!(gram.mul(&w).iter().all(|product| *product >= -1e-8 * (1.0 + size)), "{:?}", gram.mul(&w));
        }
    }

    #[test]
    fn gradients_without_conflict_are_summed(rows in gradients(2..=5)) {
        let positive: Vec<Vec<f64>> = rows.iter().map(|row| row.iter().map(|x| x.abs()).collect()).collect();
        let gram = Gram::from_gradients(&positive).unwrap();
        prop_assert!(shared("PcGrad()", &gram).iter().all(|w| *w == 1.0));
        prop_assert!(shared("CaGrad(c: 0.0)", &gram).iter().all(|w| *w == 1.0));
        let orthonormal = Gram::from_fn(gram.tasks(), |i, j| f64::from(u8::from(i == j)));
        prop_assert!(shared("AlignedMtl()", &orthonormal).iter().all(|w| (w - 1.0).abs() < 1e-12));
    }

    #[test]
    fn loss_weights_keep_their_sums(losses in prop::collection::vec(1e-3f64..10.0, 2..6)) {
        let weights = |ron: &str| {
            let Ok(Method::Loss(mut method)) = parse(ron).build(losses.len()) else { panic!("a loss balancer") };
            method.weights(&Step { index: 0, epoch: 0, seed: 0, losses: &losses })
        };
        prop_assert!((weights("Famo()").iter().sum::<f64>() - 1.0).abs() < 1e-12);
        prop_assert!((weights("Rlw()").iter().sum::<f64>() - 1.0).abs() < 1e-12);
        let total = (losses.iter().map(|l| l.ln()).sum::<f64>() / losses.len() as f64).exp();
        let by_weights: f64 = weights("Gls()").iter().zip(&losses).map(|(w, l)| w * l).sum();
        prop_assert!((by_weights - total).abs() < 1e-12 * total);
        prop_assert!(weights("ScaleInvariantLs()").iter().zip(&losses).all(|(w, l)| (w * l - 1.0).abs() < 1e-12));
    }
}
