//! DSMoE from outside: what moves its correction biases and when, who owns what, checkpoints, threads, and what is refused.

use mtorec::balance::Balancer;
use mtorec::balance::loss::{Famo, Ls};
use mtorec::data::{Field, RawBatch, Schema};
use mtorec::model::{Arch, DsMoe, Network, Router, Sizes, read_checkpoint, write_checkpoint};
use mtorec::optim::Adam;
use mtorec::stage::train::Trainer;
use mtorec::tensor::{Cpu, Kernels, Kind, Mode, Owner, Tape, Workspace};

const ROWS: usize = 300;
const RATE: f32 = 0.25;

fn schema() -> Schema {
    let field = |f: usize| Field { name: format!("f{f}"), size: 5 + f, out_of_vocabulary: None };
    Schema {
        fields: (0..3).map(field).collect(),
        numerical: vec!["x".into(), "y".into()],
        tasks: vec!["click".into(), "conversion".into()],
    }
}

fn batch() -> RawBatch {
    let number = |i: usize| ((i * 37 + i / 7) % 101) as f32 / 50.0 - 1.0;
    RawBatch {
        rows: ROWS,
        categorical: (0..ROWS)
            .flat_map(|row| (0..3).map(move |f| ((row * 7 + row / 3 + f) % (5 + f)) as u32))
            .collect(),
        numerical: (0..2 * ROWS).map(number).collect(),
        labels: (0..2 * ROWS).map(|i| f32::from(i % 5 == 0)).collect(),
    }
}

fn small(router: Router) -> DsMoe {
    DsMoe { experts: 8, top_k: 2, blocks: 2, balance_rate: RATE, router, ..DsMoe::default() }
}

fn network(arch: DsMoe) -> Network<Cpu> {
    Network::build(&arch.into(), &Sizes::Small, &schema(), 3, &Cpu::default()).unwrap()
}

fn trained(arch: DsMoe, balancer: Balancer, steps: usize) -> Network<Cpu> {
    let network = network(arch);
    let method = balancer.build(2).unwrap();
    let mut slot = network.batch_slot(&schema());
    let workspace = Workspace::new(&Cpu::default());
    let mut trainer = Trainer::new(network, Adam::default(), method, 1);
    for _ in 0..steps {
        let report = trainer.step(slot.load(&batch(), 1), 0, false, &workspace);
        assert!(report.max_violation.unwrap() >= 0.0);
    }
    trainer.settle();
    trainer.network
}

fn values(network: &Network<Cpu>, wanted: impl Fn(&str) -> bool) -> Vec<(String, Vec<f32>)> {
    let params = network.params.iter().filter(|(_, param)| wanted(&param.name));
    params.map(|(_, param)| (param.name.clone(), Cpu::default().download(&param.value))).collect()
}

fn biases(network: &Network<Cpu>) -> Vec<(String, Vec<f32>)> {
    values(network, |name| name.contains("router") && name.ends_with("bias"))
}

#[test]
fn biases_move_once_a_step() {
    for router in [Router::Single, Router::PerTask] {
        let before = biases(&network(small(router)));
        assert_eq!(before.len(), if router == Router::Single { 2 } else { 4 });
        assert!(before.iter().all(|(_, bias)| bias.iter().all(|b| *b == 0.0)), "the trial pass moves nothing");
        let once = biases(&trained(small(router), Ls::default().into(), 1));
        for (name, bias) in &once {
            assert!(bias.iter().all(|b| [-RATE, 0.0, RATE].contains(b)), "{name}: {bias:?}");
            assert!(bias.contains(&RATE) && bias.contains(&-RATE), "{name}: {bias:?}");
        }
        // FAMO looks at the losses a second time, after the step
        assert_eq!(once, biases(&trained(small(router), Famo::default().into(), 1)));
        assert_ne!(once, biases(&trained(small(router), Ls::default().into(), 2)));
        let off = DsMoe { balance_rate: 0.0, ..small(router) };
        assert_eq!(biases(&trained(off, Ls::default().into(), 2)), before);
    }
}

#[test]
fn evaluation_moves_no_bias() {
    let mut network = trained(small(Router::Single), Ls::default().into(), 2);
    let before = values(&network, |_| true);
    let workspace = Workspace::new(&Cpu::default());
    let mut slot = network.batch_slot(&schema());
    let tape = Tape::new(&network.params, &workspace, Mode::Eval);
    network.forward(&tape, &slot.load(&batch(), 1)[0]);
    tape.finish().apply(&mut network.params, &workspace);
    assert_eq!(values(&network, |_| true), before);
}

#[test]
fn tasks_own_their_towers_and_routers() {
    for router in [Router::Single, Router::PerTask] {
        for (_, param) in network(small(router)).params.iter() {
            let of_task =
                |k: usize| param.name.starts_with(&format!("tower.{k}")) || param.name.contains(&format!("router.{k}"));
            let expected = match param.kind {
                Kind::Statistic => Owner::Nobody,
                _ if of_task(0) => Owner::Task(0),
                _ if of_task(1) => Owner::Task(1),
                _ => Owner::Shared,
            };
            assert_eq!(param.owner, expected, "{}", param.name);
        }
    }
}

#[test]
fn checkpoints_hold_everything_under_the_documented_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let trained = trained(small(Router::PerTask), Ls::default().into(), 1);
    write_checkpoint(&trained, &path).unwrap();
    let mut fresh = network(small(Router::PerTask));
    assert_ne!(biases(&fresh), biases(&trained));
    read_checkpoint(&mut fresh, &path).unwrap();
    assert_eq!(values(&fresh, |_| true), values(&trained, |_| true));

    let bytes = std::fs::read(&path).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let shape = |name: &str| tensors.tensor(name).unwrap_or_else(|_| panic!("{name}")).shape().to_vec();
    assert_eq!(shape("input.weight"), [64, 4 * 32]);
    assert_eq!(shape("input.bias"), [64]);
    assert_eq!(shape("blocks.0.norm.weight"), [64]);
    assert_eq!(shape("blocks.1.router.0.weight"), [8, 64]);
    assert_eq!(shape("blocks.1.router.1.bias"), [8]);
    assert_eq!(shape("blocks.0.experts.7.gate.weight"), [32, 64]);
    assert_eq!(shape("blocks.0.experts.7.up.weight"), [32, 64]);
    assert_eq!(shape("blocks.0.experts.7.down.weight"), [64, 32]);
    assert_eq!(shape("blocks.0.shared.gate.weight"), [64, 64]);
    assert_eq!(shape("blocks.0.shared.down.weight"), [64, 64]);
    assert_eq!(shape("tower.1.mlp.0.weight"), [32, 64]);
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let by_router = [Router::Single, Router::PerTask].map(|router| {
                // more samples an expert than one piece holds, and fewer
                let few = DsMoe { experts: 4, n_group: 2, topk_group: 1, ..small(router) };
                [trained(few, Famo::default().into(), 3), trained(small(router), Ls::default().into(), 3)]
                    .map(|network| values(&network, |_| true))
            });
            by_router.concat()
        })
    };
    let alone = on(1);
    for threads in [2, 3, 8] {
        assert_eq!(on(threads), alone, "{threads} threads");
    }
}

#[test]
fn impossible_hyper_parameters_are_refused() {
    let build = |arch: DsMoe| Network::build(&Arch::from(arch), &Sizes::Tiny, &schema(), 1, &Cpu::default()).err();
    let with = |change: fn(&mut DsMoe)| {
        let mut arch = DsMoe::default();
        change(&mut arch);
        build(arch).unwrap_or_else(|| panic!("{arch:?} is refused"))
    };
    assert_eq!(build(DsMoe::default()), None);
    assert_eq!(build(DsMoe { n_shared: 0, top_k: 32, norm_topk: false, ..DsMoe::default() }), None);
    assert_eq!(build(DsMoe { n_group: 8, topk_group: 2, ..DsMoe::default() }), None);
    assert_eq!(with(|arch| arch.experts = 0), "`experts` should be at least 1, not 0");
    assert_eq!(with(|arch| arch.top_k = 0), "`top_k` should be at least 1, not 0");
    assert_eq!(with(|arch| arch.blocks = 0), "`blocks` should be at least 1, not 0");
    assert_eq!(with(|arch| arch.n_group = 0), "`n_group` should be at least 1, not 0");
    assert_eq!(with(|arch| arch.topk_group = 0), "`topk_group` should be at least 1, not 0");
    assert_eq!(with(|arch| arch.top_k = 33), "`top_k` (33) is more than the 32 experts that a sample may choose from");
    assert_eq!(
        with(|arch| (arch.n_group, arch.topk_group, arch.top_k) = (8, 2, 9)),
        "`top_k` (9) is more than the 8 experts that a sample may choose from"
    );
    assert_eq!(with(|arch| arch.n_group = 5), "`experts` (32) cannot be divided into `n_group` (5) equal groups");
    assert!(with(|arch| arch.n_group = 32).starts_with("`n_group` (32) makes groups of one expert"));
    assert_eq!(
        with(|arch| (arch.n_group, arch.topk_group) = (4, 5)),
        "`topk_group` (5) is more than the groups there are (`n_group`: 4)"
    );
    assert_eq!(with(|arch| arch.routed_scaling = 0.0), "`routed_scaling` should be a positive number, not 0");
    assert_eq!(with(|arch| arch.balance_rate = -1.0), "`balance_rate` should be a number of at least 0, not -1");
}
