//! Vocabularies, statistics and their application, by hand-worked values.

use super::*;
use crate::data::Transform;
use crate::data::fixtures::encode;
use crate::data::log::{Piece, dense_fields, dictionary_fields};

#[test]
fn dense_ids_keep_their_numbers_and_unseen_ones_share_the_last_row() {
    let mut log = RawLog::new(dense_fields(["a", "b"]), vec![], vec!["y".into()]);
    log.parts.categorical = vec![0, 9, 3, 9, 1, 2, 7, 9];
    log.parts.labels = vec![0, 1, 0, 1];
    let encoded = encode(log, &[0, 1]);
    let sizes: Vec<_> = encoded.schema.fields.iter().map(|f| (f.size, f.out_of_vocabulary)).collect();
    assert_eq!(sizes, [(5, Some(4)), (11, Some(10))]);
    // Below the largest training id or above it: unseen is unseen.
    assert_eq!(encoded.rows.categorical(), [0, 9, 3, 9, 4, 10, 4, 9]);
    assert_eq!(encoded.encoding.fields[0], FieldEncoding::Dense { unseen: vec![1, 2] });
}

#[test]
fn dictionaries_hold_the_training_values_sorted() {
    let mut log = RawLog::new(dictionary_fields(["a"]), vec![], vec!["y".into()]);
    let mut piece = Piece::default();
    for value in ["pear", "fig", "kiwi", "apple", "fig"] {
        piece.push_category(0, value);
    }
    log.append(&mut piece).unwrap();
    log.parts.labels = vec![0; 5];
    let encoded = encode(log, &[0, 3, 4]);
    assert_eq!(
        encoded.encoding.fields[0],
        FieldEncoding::Dictionary(vec!["apple".into(), "fig".into(), "pear".into()])
    );
    assert_eq!(encoded.schema.fields[0], Field { name: "a".into(), size: 4, out_of_vocabulary: Some(3) });
    assert_eq!(encoded.rows.categorical(), [2, 1, 3, 0, 1]);
}

#[test]
fn standardised_columns_use_the_training_rows_alone() {
    let mut log = RawLog::new(vec![], vec!["a".into(), "constant".into()], vec!["y".into()]);
    log.parts.numerical = vec![1.0, 5.0, 3.0, 5.0, 100.0, 7.0];
    log.parts.labels = vec![0; 3];
    log.transforms.fill(Transform::Standardise);
    let encoded = encode(log, &[0, 1]);
    assert_eq!(encoded.rows.numerical(), [-1.0, 0.0, 1.0, 0.0, 98.0, 2.0]);
    let expected = [Scaling { mean: 2.0, ..Scaling::NONE }, Scaling { mean: 5.0, ..Scaling::NONE }];
    assert_eq!(encoded.encoding.numerical, expected);
}

/// A log that does not fit into memory encodes to the same, whatever part of it waits on the disk.
#[test]
fn rows_on_the_disk_are_encoded_as_those_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let log = |budget: Option<usize>| {
        let mut log = RawLog::new(dictionary_fields(["a", "b"]), vec!["x".into()], vec!["y".into()]);
        log.transforms.fill(Transform::Standardise);
        if let Some(budget) = budget {
            log.spill_to(folder.path().to_path_buf(), budget);
        }
        for row in 0..50 {
            let mut piece = Piece::default();
            piece.push_category(0, ["pear", "fig", "kiwi"][row % 3]);
            piece.push_category(1, &row.to_string());
            piece.push_group_name(["u", "v"][row / 25]);
            piece.parts.numerical.push((row * row) as f32);
            piece.parts.labels.push((row % 2) as u8);
            log.append(&mut piece).unwrap();
        }
        log
    };
    let train: Vec<u32> = (0..40).collect();
    let expected = encode(log(None), &train);
    for budget in [1, 300, 1 << 20] {
        let found = encode(log(Some(budget)), &train);
        assert_eq!(found.rows.to_parts(), expected.rows.to_parts(), "{budget}");
        assert_eq!((found.schema, found.encoding), (expected.schema.clone(), expected.encoding.clone()));
    }
}

#[test]
fn columns_stay_as_they_are_unless_asked() {
    let mut log = RawLog::new(vec![], vec!["a".into()], vec!["y".into()]);
    log.parts.numerical = vec![1.0, 3.0];
    log.parts.labels = vec![0; 2];
    let encoded = encode(log, &[0, 1]);
    assert_eq!(encoded.rows.numerical(), [1.0, 3.0]);
    assert_eq!(encoded.encoding.numerical, [Scaling::NONE]);
}

#[test]
fn rare_categories_are_out_of_vocabulary() {
    let mut log = RawLog::new(dictionary_fields(["a"]), vec![], vec!["y".into()]);
    let mut piece = Piece::default();
    for value in ["rare", "often", "often", "rare", "late", "late"] {
        piece.push_category(0, value);
    }
    log.append(&mut piece).unwrap();
    log.parts.labels = vec![0; 6];
    log.min_count = 2;
    // the second `rare` and both `late` are no training rows
    let encoded = encode(log, &[0, 1, 2]);
    assert_eq!(encoded.encoding.fields[0], FieldEncoding::Dictionary(vec!["often".into()]));
    assert_eq!(encoded.rows.categorical(), [1, 0, 0, 1, 1, 1]);
}

/// First eight bytes of `b3sum` of the texts, by hand.
#[test]
fn hashes_are_those_of_blake3() {
    // BLAKE3 of nothing starts with af1349b9f5f9a1a6, that of "abc" with 6437b3ac38465133
    assert_eq!(u64::from(bucket("", 1000)), 0xa6a1_f9f5_b949_13af_u64 % 1000);
    assert_eq!(u64::from(bucket("abc", 50_000_000)), 0x3351_4638_acb3_3764_u64 % 50_000_000);
    assert_eq!(bucket("abc", 1), 0);
}

#[test]
fn values_have_the_ids_that_their_rows_were_given() {
    let mut dense = RawLog::new(dense_fields(["a"]), vec![], vec!["y".into()]);
    dense.parts.categorical = vec![0, 3, 1, 7, 5];
    dense.parts.labels = vec![0; 5];
    let encoded = encode(dense, &[0, 1, 4]);
    let size = encoded.schema.fields[0].size;
    let unknown = encoded.schema.fields[0].out_of_vocabulary.unwrap();
    let id = |value: &str| encoded.encoding.fields[0].id(value, size).unwrap_or(unknown);
    assert_eq!(["0", "3", "1", "7", "5"].map(id), encoded.rows.categorical());
    assert_eq!(id("6"), unknown);
    assert_eq!(id("five"), unknown);
    let dictionary = FieldEncoding::Dictionary(vec!["apple".into(), "fig".into(), "pear".into()]);
    assert_eq!(
        ["apple", "fig", "pear", "plum", ""].map(|text| dictionary.id(text, 4)),
        [Some(0), Some(1), Some(2), None, None]
    );
    assert_eq!(FieldEncoding::Hashed { buckets: 7 }.id("abc", 7), Some((0x3351_4638_acb3_3764_u64 % 7) as u32));
}

#[test]
fn each_column_has_its_own_transform() {
    let names = ["as_is", "standard", "log", "both"].map(str::to_owned).to_vec();
    let mut log = RawLog::new(vec![], names, vec!["y".into()]);
    log.transforms = vec![Transform::AsIs, Transform::Standardise, Transform::Log1p, Transform::Log1pStandardise];
    let e = std::f32::consts::E;
    // logarithms of 1 + x are 0, 1 and 2
    let rows = [[5.0, 1.0, 0.0, 0.0], [6.0, 3.0, e - 1.0, e * e - 1.0], [7.0, 100.0, e * e - 1.0, e - 1.0]];
    log.parts.numerical = rows.concat();
    log.parts.labels = vec![0; 3];
    let encoded = encode(log, &[0, 1]);
    let expected = [5.0, -1.0, 0.0, -1.0, 6.0, 1.0, 1.0, 1.0, 7.0, 98.0, 2.0, 0.0];
    for (found, expected) in encoded.rows.numerical().iter().zip(expected) {
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
    }
    for (at, scaling) in encoded.encoding.numerical.iter().enumerate() {
        let back = scaling.invert(f64::from(scaling.apply(rows[1][at])));
        assert!((back - f64::from(rows[1][at])).abs() < 1e-5, "{back}");
    }
    assert!(encoded.encoding.numerical[2].apply(-0.5).is_nan());
}

/// As scikit-learn's `SimpleImputer(strategy="mean")` before `StandardScaler`, worked by hand.
#[test]
fn means_of_training_rows_stand_for_missing_numbers() {
    let mut log = RawLog::new(vec![], vec!["x".into(), "y".into()], vec!["label".into()]);
    log.parts.numerical = vec![1.0, 1.0, f32::NAN, 1.0, 4.0, 1.0, 4.0, f32::NAN, 100.0, 9.0];
    log.parts.labels = vec![0; 5];
    log.fill = Some(Fill::Mean);
    log.transforms[0] = Transform::Standardise;
    let encoded = encode(log, &[0, 1, 2, 3]);
    // (1 + 4 + 4) / 3 = 3; of 1, 3, 4, 4 the deviations from it are -2, 0, 1, 1, so the variance is 1.5
    let deviation = 1.5_f64.sqrt();
    assert_eq!(encoded.encoding.numerical[0], Scaling { log1p: false, mean: 3.0, deviation, missing: Some(3.0) });
    assert_eq!(encoded.encoding.numerical[1], Scaling { missing: Some(1.0), ..Scaling::NONE });
    let second: Vec<f32> = encoded.rows.numerical().iter().copied().skip(1).step_by(2).collect();
    assert_eq!(second, [1.0, 1.0, 1.0, 1.0, 9.0]);
    let first: Vec<f32> = encoded.rows.numerical().iter().copied().step_by(2).collect();
    let expected = [-2.0, 0.0, 1.0, 1.0, 97.0].map(|x: f64| (x / deviation) as f32);
    assert_eq!(first, expected);
}

/// Whether other columns are scaled or not.
#[test]
fn a_number_stands_for_missing_ones() {
    for (transform, expected) in [
        (Transform::AsIs, [1.0, -0.0, 2.5, 5.0, 2.5, 7.0]),
        // of 1 and 2.5, the mean is 1.75 and the deviation 0.75
        (Transform::Standardise, [-1.0, -0.0, 1.0, 5.0, 1.0, 7.0]),
    ] {
        let mut log = RawLog::new(vec![], vec!["x".into(), "y".into()], vec!["label".into()]);
        log.parts.numerical = vec![1.0, -0.0, f32::NAN, 5.0, f32::NAN, 7.0];
        log.parts.labels = vec![0; 3];
        log.fill = Some(Fill::Number(2.5));
        log.transforms[0] = transform;
        let encoded = encode(log, &[0, 1]);
        let bits = |numbers: &[f32]| numbers.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(encoded.rows.numerical()), bits(&expected));
        assert_eq!(encoded.encoding.numerical[1], Scaling { missing: Some(2.5), ..Scaling::NONE });
    }
}

#[test]
fn a_column_without_numbers_has_no_mean() {
    let mut log = RawLog::new(vec![], vec!["x".into()], vec!["label".into()]);
    log.parts.numerical = vec![f32::NAN, 1.0];
    log.parts.labels = vec![0; 2];
    log.fill = Some(Fill::Mean);
    let split = Split::new(vec![Part::Train, Part::Test]);
    let error = Encoder::of(&log, &split, &mut || Ok(())).err().unwrap();
    assert_eq!(error.to_string(), "column `x` has no number in any training row, and so no mean");
}

#[test]
fn a_record_without_transforms_reads_as_it_did() {
    let old =
        r#"{"fields":[{"dense":{"unseen":[1]}},{"dictionary":["a"]}],"numerical":[{"mean":1.5,"deviation":2.0}]}"#;
    let encoding: Encoding = serde_json::from_str(old).unwrap();
    assert_eq!(encoding.numerical[0], Scaling { mean: 1.5, deviation: 2.0, ..Scaling::NONE });
    assert_eq!(serde_json::to_string(&encoding).unwrap(), old);
}
