//! Where methods agree: with each other for two tasks, and with the values that TorchJD publishes.

use proptest::prelude::*;
use ron::extensions::Extensions;

use super::examples::{assert_close, ex_t};
use super::gram::Gram;
use super::{Balancer, Coefficients, Method, Step};

/// The first coefficients of a Gram balancer.
fn coefficients(ron: &str, gram: &Gram, losses: &[f64]) -> Coefficients {
    let options = ron::Options::default().with_default_extension(Extensions::UNWRAP_VARIANT_NEWTYPES);
    let balancer: Balancer = options.from_str(ron).unwrap_or_else(|error| panic!("{ron}: {error}"));
    let Ok(Method::Gram(mut method)) = balancer.build(gram.tasks()) else { panic!("{ron}: a Gram balancer") };
    method.coefficients(&Step { index: 0, epoch: 0, seed: 1, losses }, gram)
}

fn shared(ron: &str, gram: &Gram) -> Vec<f64> {
    coefficients(ron, gram, &vec![1.0; gram.tasks()]).shared
}

/// Two gradients that are neither tiny nor nearly opposite, by their lengths and the cosine between them.
fn pairs() -> impl Strategy<Value = (f64, f64, f64)> {
    (0.01f64..100.0, 0.01f64..100.0, -0.99f64..0.99)
}

fn gram_of((n1, n2, cos): (f64, f64, f64)) -> Gram {
    let off = n1 * n2 * cos;
    Gram::from_rows(&[[n1 * n1, off], [off, n2 * n2]]).expect("a Gram matrix")
}

fn same(found: &[f64], expected: [f64; 2]) -> bool {
    found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs().max(1e-12))
}

proptest! {
    /// Four methods take the bisector of two gradients and differ in its length only.
    #[test]
    fn the_bisector_at_four_lengths(pair in pairs()) {
        let gram = gram_of(pair);
        let (n1, n2, cos) = pair;
        let lengths = |w: &[f64]| gram.quadratic(w).sqrt();
        let imtl = shared("ImtlG()", &gram);
        prop_assert!(same(&imtl, [n2 / (n1 + n2), n1 / (n1 + n2)]), "{imtl:?}");
        prop_assert!(same(&[lengths(&imtl), 1.0], [n1 * n2 / (n1 + n2) * (2.0 * (1.0 + cos)).sqrt(), 1.0]));
        for method in ["NashMtl()", "FairGrad()"] {
            let nash = shared(method, &gram);
            let root = (1.0 + cos).sqrt();
            prop_assert!(same(&nash, [1.0 / (n1 * root), 1.0 / (n2 * root)]), "{method}: {nash:?}");
            prop_assert!(same(&[lengths(&nash), 1.0], [2f64.sqrt(), 1.0]), "{method}");
        }
        let config = shared("ConFig()", &gram);
        prop_assert!(same(&config, [(n1 + n2) / (2.0 * n1), (n1 + n2) / (2.0 * n2)]), "{config:?}");
        prop_assert!(same(&[lengths(&config), 1.0], [(n1 + n2) * ((1.0 + cos) / 2.0).sqrt(), 1.0]));
    }

    #[test]
    fn the_upgraded_direction_is_half_of_gradient_surgery(pair in pairs()) {
        let gram = gram_of(pair);
        let surgery = shared("PcGrad()", &gram);
        prop_assert!(same(&shared("UpGrad()", &gram), [surgery[0] / 2.0, surgery[1] / 2.0]), "{surgery:?}");
    }

    /// Dividing the losses by themselves first is the same as asking for the logarithms.
    #[test]
    fn logarithms_are_gradients_over_losses(pair in pairs(), l1 in 0.1f64..10.0, l2 in 0.1f64..10.0) {
        let (gram, losses) = (gram_of(pair), [l1, l2]);
        let over = gram.scaled(&[1.0 / l1, 1.0 / l2]);
        for (log, plain) in [("LogMgda()", "Mgda(combine: Normalised)"), ("LogImtlG()", "ImtlG()"), ("LogCaGrad()", "CaGrad()")] {
            let (log, plain) = (coefficients(log, &gram, &losses).shared, shared(plain, &over));
            let proportional = log[0] * l1 * plain[1] - log[1] * l2 * plain[0];
            let size = (log[0] * l1 * plain[1]).abs().max((log[1] * l2 * plain[0]).abs());
            prop_assert!(proportional.abs() <= 1e-6 * size.max(1e-9), "{log:?} {plain:?}");
        }
    }
}

/// The combined gradients of TorchJD's documentation, on its own test matrix; its mean is our sum, so some are multiples.
#[test]
fn torchjd_publishes_the_same_directions() {
    let published: [(&str, f64, [f64; 3]); 10] = [
        ("AlignedMtl()", 0.5, [0.2133, 0.9673, 0.9673]),
        ("ConFig()", 1.0, [0.1588, 2.0706, 2.0706]),
        ("ImtlG()", 1.0, [0.0767, 1.0, 1.0]),
        ("Mgda(combine: Normalised)", 1.0, [0.0, 1.0, 1.0]),
        ("PcGrad()", 1.0, [0.5848, 3.8012, 3.8012]),
        ("GradVac()", 1.0, [0.5848, 3.8012, 3.8012]),
        ("UpGrad()", 1.0, [0.2929, 1.9004, 1.9004]),
        ("DualProj()", 1.0, [0.5563, 1.1109, 1.1109]),
        ("FairGrad()", 1.0, [0.0766, 0.9985, 0.9985]),
        ("NashMtl()", 1.0, [0.0542, 0.7061, 0.7061]),
    ];
    let example = ex_t();
    for (ron, factor, expected) in published {
        let combined = example.combined(&coefficients(ron, &example.gram, &example.losses));
        let combined: Vec<f64> = combined.iter().map(|x| x * factor).collect();
        // TorchJD regularises its quadratic programs by 1e-4
        assert_close(&combined, &expected, 1e-3);
    }
}
