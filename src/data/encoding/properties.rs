//! Round trips over logs drawn at random, read from text as users write it: values become ids and ids the same values again,
//! numbers are scaled and come back.

use std::collections::BTreeMap;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::data::fixtures::{Encoded, Project, encode};
use crate::data::log::dense_fields;
use crate::data::{Csv, Dataset, Transform};

/// A row: a value of a dictionary, one that is hashed, a number, whether it is a training row.
type Drawn = (String, String, f32, bool);

fn value() -> impl Strategy<Value = String> {
    // few enough that rows share them, and all that quotes are for; spaces round a value are none of it
    let some = vec!["a", "b", "01", "1", "", "é", "a,b", "say \"a\"", "two\nlines", "None", "nan", "-"];
    prop_oneof![
        4 => prop::sample::select(some).prop_map(str::to_owned),
        1 => "[a-c\"', é]{0,4}".prop_map(|text| text.trim().to_owned()),
    ]
}

fn rows() -> impl Strategy<Value = Vec<Drawn>> {
    let number = prop_oneof![0f32..100.0, (0u8..4).prop_map(f32::from), Just(1e-30), Just(1e6)];
    prop::collection::vec((value(), value(), number, prop::bool::weighted(0.7)), 1..40)
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

fn csv(transform: Transform, buckets: u32, min_count: u32) -> Csv {
    Csv {
        train: "rows.csv".into(),
        categorical: vec!["kept".into(), "hashed".into()],
        numerical: vec!["x".into()],
        labels: vec!["y".into()],
        transforms: BTreeMap::from([("x".into(), transform)]),
        hashed: BTreeMap::from([("hashed".into(), buckets)]),
        min_count,
        ..Csv::default()
    }
}

/// Reads the rows as a file and encodes them.
fn encoded(rows: &[Drawn], csv: Csv) -> Encoded {
    let line = |(kept, hashed, x, _): &Drawn| format!("{},{x},1,{}\n", quoted(kept), quoted(hashed));
    let text: String = std::iter::once("kept,x,y,hashed\n".to_owned()).chain(rows.iter().map(line)).collect();
    let project = Project::new();
    project.write("rows.csv", &text);
    let log = project.read(&Dataset::from(csv), None).unwrap();
    encode(log, &training(rows))
}

fn training(rows: &[Drawn]) -> Vec<u32> {
    rows.iter().zip(0..).filter(|((.., train), _)| *train).map(|(_, at)| at).collect()
}

fn transforms() -> impl Strategy<Value = Transform> {
    use Transform::{AsIs, Log1p, Log1pStandardise, Standardise};
    prop::sample::select(vec![AsIs, Standardise, Log1p, Log1pStandardise])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, rng_seed: RngSeed::Fixed(5), ..ProptestConfig::default() })]

    #[test]
    fn ids_lead_back_to_the_values_they_stand_for(
        mut rows in rows(), buckets in prop_oneof![1u32..9, Just(50_000)], min_count in 1u32..4,
        strangers in prop::collection::vec(value(), 3),
    ) {
        rows[0].3 = true;
        let Encoded { schema, encoding, rows: encoded } = encoded(&rows, csv(Transform::AsIs, buckets, min_count));
        let (kept, hashed) = (&schema.fields[0], &schema.fields[1]);
        let times = |value: &str| rows.iter().filter(|row| row.3 && row.0 == value).count() as u32;
        let FieldEncoding::Dictionary(values) = &encoding.fields[0] else { panic!("a dictionary") };
        prop_assert_eq!(kept.size, values.len() + 1);
        prop_assert!(values.is_sorted() && values.iter().all(|value| times(value) >= min_count));
        for (at, value) in values.iter().enumerate() {
            prop_assert_eq!(encoding.fields[0].id(value, kept.size), Some(at as u32));
        }
        for ((value, hash, ..), ids) in rows.iter().zip(encoded.categorical().chunks(2)) {
            match values.get(ids[0] as usize) {
                Some(back) => prop_assert_eq!(back, value),
                None => {
                    prop_assert_eq!(Some(ids[0]), kept.out_of_vocabulary);
                    prop_assert!(times(value) < min_count, "`{}` is known", value);
                }
            }
            prop_assert_eq!(encoding.fields[0].id(value, kept.size).or(kept.out_of_vocabulary), Some(ids[0]));
            prop_assert_eq!(encoding.fields[1].id(hash, hashed.size), Some(ids[1]));
        }
        prop_assert_eq!((hashed.size, hashed.out_of_vocabulary), (buckets as usize, None));
        for stranger in &strangers {
            let known = encoding.fields[0].id(stranger, kept.size);
            prop_assert_eq!(known.is_some(), times(stranger) >= min_count);
            prop_assert!(encoding.fields[1].id(stranger, hashed.size).is_some_and(|id| id < buckets));
        }
        let again: Encoding = serde_json::from_str(&encoding.to_json()).unwrap();
        prop_assert_eq!(again, encoding);
    }

    #[test]
    fn dense_ids_keep_their_numbers_and_others_share_one(ids in prop::collection::vec((0u32..30, any::<bool>()), 1..40)) {
        let mut log = RawLog::new(dense_fields(["a"]), vec![], vec!["y".into()]);
        log.parts.categorical = ids.iter().map(|(id, _)| *id).collect();
        log.parts.labels = vec![0; ids.len()];
        let train: Vec<u32> = ids.iter().zip(0..).filter(|((_, train), _)| *train).map(|(_, at)| at).collect();
        let Encoded { schema, encoding, rows } = encode(log, &train);
        let seen = |id: u32| ids.contains(&(id, true));
        let field = &schema.fields[0];
        for id in 0..40 {
            prop_assert_eq!(encoding.fields[0].id(&id.to_string(), field.size), seen(id).then_some(id));
        }
        for ((id, _), found) in ids.iter().zip(rows.categorical()) {
            prop_assert_eq!(Some(*found), if seen(*id) { Some(*id) } else { field.out_of_vocabulary });
        }
    }

    #[test]
    fn scaled_numbers_come_back(mut rows in rows(), transform in transforms()) {
        rows[0].3 = true;
        let Encoded { encoding, rows: encoded, .. } = encoded(&rows, csv(transform, 3, 1));
        let scaling = encoding.numerical[0];
        let bent: Vec<f64> = rows.iter().map(|row| {
            let x = f64::from(row.2);
            if transform.takes_logarithms() { x.ln_1p() } else { x }
        }).collect();
        let of_training = || rows.iter().zip(&bent).filter(|(row, _)| row.3).map(|(_, x)| *x);
        let count = of_training().count() as f64;
        let mean = of_training().sum::<f64>() / count;
        let deviation = (of_training().map(|x| (x - mean).powi(2)).sum::<f64>() / count).sqrt();
        let scales = transform.standardises();
        for ((row, found), bent) in rows.iter().zip(encoded.numerical()).zip(&bent) {
            let expected = match (scales, deviation > 0.0) {
                (false, _) => *bent,
                (true, false) => bent - mean,
                (true, true) => (bent - mean) / deviation,
            };
            prop_assert!((f64::from(*found) - expected).abs() <= 1e-6 * (1.0 + expected.abs()), "{} {}", found, expected);
            // one rounding to f32 of what was scaled, seen through the inverse
            let back = scaling.invert(f64::from(*found));
            let x = f64::from(row.2);
            let slack = f64::from(found.abs().max(1.0)) * 1.2e-7 * scaling.deviation;
            let slack = if transform.takes_logarithms() { slack * (1.0 + x) } else { slack };
            prop_assert!((back - x).abs() <= 1.01 * slack + 1e-12 * x, "{} came back as {}", x, back);
        }
        prop_assert!(transform != Transform::AsIs || scaling.keeps());
    }

    #[test]
    fn what_stands_for_a_missing_number_is_scaled_as_any_other(mean in -9f64..9.0, deviation in 0.1f64..9.0, missing in 0f32..9.0) {
        for log1p in [false, true] {
            let scaling = Scaling { log1p, mean, deviation, missing: Some(missing) };
            prop_assert_eq!(scaling.apply(f32::NAN), scaling.apply(missing));
            let unfilled = Scaling { missing: None, ..scaling };
            prop_assert!(unfilled.apply(f32::NAN).is_nan());
            prop_assert_eq!(unfilled.apply(missing), scaling.apply(missing));
        }
    }
}
