//! The descent held to METHODS' values: the smooth early part of the trajectories, where rounding decides nothing yet.

use super::descent::{Trajectory, descend};
use super::problem::Problem;
use crate::balance::driver::Rates;
use crate::balance::gram::Gram;
use crate::balance::{Balancer, Memory, Method, Step, UpdateBalancer};

const RATES: Rates = Rates { lr: 1e-3, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0 };

fn built(ron: &str) -> Method {
    let options = ron::Options::default()
        .with_default_extension(ron::extensions::Extensions::UNWRAP_VARIANT_NEWTYPES)
        .with_default_extension(ron::extensions::Extensions::IMPLICIT_SOME);
    let balancer: Balancer = options.from_str(ron).unwrap_or_else(|error| panic!("{ron}: {error}"));
    balancer.build(2).unwrap()
}

fn way(method: Method, scale: f64, start: [f64; 2], steps: u64) -> Trajectory {
    descend(Problem { scale }, method, RATES, 1, start, steps, || Ok(())).unwrap()
}

fn assert_close(what: &str, found: [f64; 2], expected: [f64; 2], tolerance: f64) {
    let near = found.iter().zip(expected).all(|(found, expected)| (found - expected).abs() <= tolerance);
    assert!(near, "{what}: {found:?} should be {expected:?}");
}

/// Starts that do not lie on the kink; from the two others the balancers hardly differ, or are mirrored.
const THREE: [[f64; 2]; 3] = [[-8.5, 7.5], [-7.5, -0.5], [9.0, -1.0]];

#[test]
fn after_1000_steps_every_method_is_where_the_references_are() {
    for (balancer, expected) in [
        ("Ls()", [[-7.435_966, 6.243_954], [-6.337_765, -1.454_224], [7.921_723, -1.939_344]]),
        ("Mgda()", [[-7.483_905, 6.238_670], [-6.278_387, -2.127_258], [7.916_298, -2.419_000]]),
        ("ImtlG()", [[-7.469_818, 6.238_840], [-6.338_107, -1.868_527], [7.933_351, -2.296_271]]),
        ("NashMtl(max_norm: None)", [[-7.503_196, 6.278_432], [-6.593_177, -1.642_100], [8.045_624, -2.185_515]]),
        ("CaGrad(c: 0.4, max_norm: 1.0)", [[-7.438_893, 6.217_112], [-6.492_423, -1.497_616], [7.961_593, -1.959_705]]),
        ("PcGrad(max_norm: 1.0)", [[-7.435_966, 6.243_954], [-6.803_735, -1.569_497], [8.082_448, -2.141_133]]),
        (
            "Famo(gamma: 0.0, lower_bounds: [-21.0, -21.0])",
            [[-7.601_012, 6.230_368], [-6.351_643, -0.991_148], [7.951_672, -1.112_756]],
        ),
        (
            "Pub(scale: Raw, update_weights_every: 1)",
            [[-7.578_821, 6.428_405], [-6.416_643, -1.407_162], [7.941_381, -1.936_596]],
        ),
        (
            "Pub(scale: Frobenius, update_weights_every: 1)",
            [[-6.278_408, 4.500_439], [-5.301_658, -2.176_142], [6.961_233, -2.656_349]],
        ),
    ] {
        for (start, expected) in THREE.into_iter().zip(expected) {
            let found = way(built(balancer), 1.0, start, 1000).after_1000.unwrap().x;
            assert_close(&format!("{balancer} from {start:?}"), found, expected, 1e-3);
        }
    }
}

/// The weights that the shipped code of PUB never changes.
struct Ones;

impl Memory for Ones {}

impl UpdateBalancer for Ones {
    fn weights(&mut self, _: &Step, gram: &Gram) -> Vec<f64> {
        vec![1.0; gram.tasks()]
    }
}

#[test]
fn after_1000_steps_pub_with_weights_of_one_is_where_its_shipped_code_is() {
    let expected = [[-6.280_374, 4.500_565], [-5.283_889, -2.166_309], [6.945_157, -2.633_650]];
    for (start, expected) in THREE.into_iter().zip(expected) {
        let found = way(Method::Update(Box::new(Ones)), 1.0, start, 1000).after_1000.unwrap().x;
        assert_close(&format!("from {start:?}"), found, expected, 1e-3);
    }
}

#[test]
fn after_300_steps_the_reference_classes_agree() {
    for (balancer, expected) in [
        ("NashMtl(max_norm: None)", [-7.210_90, -0.832_98]),
        ("Famo(gamma: 0.0, lower_bounds: [-21.0, -21.0])", [-7.167_13, -0.589_61]),
        ("Mgda()", [-7.165_36, -0.877_73]),
        ("ImtlG()", [-7.169_50, -0.876_77]),
    ] {
        let found = way(built(balancer), 1.0, [-7.5, -0.5], 300).end().x;
        assert_close(balancer, found, expected, 1e-4);
    }
}

#[test]
fn nash_mtl_knows_no_scale() {
    for start in THREE {
        let end = |scale| way(built("NashMtl(max_norm: None)"), scale, start, 1000).end().x;
        let plain = end(1.0);
        for scale in [0.1, 30.0] {
            assert_close(&format!("scale {scale} from {start:?}"), end(scale), plain, 1e-6);
        }
    }
    let sum = |scale| way(built("Ls()"), scale, [9.0, -1.0], 1000).end().x;
    assert!((sum(0.1)[0] - sum(1.0)[0]).abs() > 1e-2, "the sum of the losses does");
}

#[test]
fn the_origin_is_no_trap() {
    let [l1, l2] = way(built("Ls()"), 1.0, [0.0, 0.0], 20_000).end().losses;
    assert!((l1 + 15.091_638).abs() < 1e-3 && (l2 + 15.091_638).abs() < 1e-3, "({l1}, {l2})");
}

#[test]
fn a_trajectory_keeps_its_ends_and_evenly_spaced_points() {
    let steps = |way: &Trajectory| way.points.iter().map(|point| point.step).collect::<Vec<_>>();
    let short = way(built("Ls()"), 1.0, [9.0, 9.0], 3);
    assert_eq!(steps(&short), [0, 1, 2, 3]);
    assert_eq!(short.after_1000, None);
    let long = way(built("Ls()"), 1.0, [9.0, 9.0], 1001);
    assert_eq!(steps(&long)[..3], [0, 3, 6]);
    assert_eq!(steps(&long).last(), Some(&1001));
    assert_eq!(long.after_1000.map(|point| point.step), Some(1000));
}

/// A method that asks for the impossible after some steps.
struct Breaking;

impl Memory for Breaking {}

impl UpdateBalancer for Breaking {
    fn weights(&mut self, step: &Step, gram: &Gram) -> Vec<f64> {
        vec![if step.index < 10 { 1.0 } else { f64::NAN }; gram.tasks()]
    }
}

#[test]
fn numbers_that_are_not_finite_end_a_trajectory_before_them() {
    let way = way(Method::Update(Box::new(Breaking)), 1.0, [9.0, 9.0], 100);
    assert_eq!((way.broke_off, way.end().step), (Some(11), 10));
    assert!(way.end().x.iter().all(|x| x.is_finite()));
}
