//! Properties of the language over generated texts; `ron`'s own parser is the oracle.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::canonical::canonical;
use super::decode::decode;
use super::parse::parse_file;
use super::pipeline::Pipeline;

const EXAMPLE: &str = include_str!("../../pipelines/es_mmoe_famo.ron");

/// What our parser and decoder make of a text; `None` if they find a problem.
fn ours(text: &str) -> Option<ron::Value> {
    let (tree, problems) = parse_file(text, 0);
    assert!(tree.is_some() || !problems.is_empty(), "no tree and no reason for {text:?}");
    let decoded = decode::<ron::Value>(&tree?);
    decoded.value.filter(|_| problems.is_empty() && decoded.problems.is_empty())
}

/// Without a type to read, `ron` takes `()` for a unit and `( )` for a sequence; to us, and to any type, they are one.
fn with_one_empty(value: ron::Value) -> ron::Value {
    match value {
        ron::Value::Seq(items) if items.is_empty() => ron::Value::Unit,
        ron::Value::Seq(items) => ron::Value::Seq(items.into_iter().map(with_one_empty).collect()),
        ron::Value::Map(map) => {
            ron::Value::Map(map.into_iter().map(|(key, value)| (with_one_empty(key), with_one_empty(value))).collect())
        }
        ron::Value::Option(Some(value)) => ron::Value::Option(Some(Box::new(with_one_empty(*value)))),
        other => other,
    }
}

fn space() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "",
        "",
        "",
        " ",
        "\n  ",
        "\t",
        "/* c, ( */",
        "// x )\n",
        "/* a /* b */ \" */",
        " \u{200e}",
    ])
}

fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i64>().prop_map(|x| x.to_string()),
        any::<u8>().prop_map(|x| format!("0x{x:x}")),
        any::<f64>().prop_map(|x| ron::to_string(&x).unwrap()),
        (0u16..999, -9i32..9).prop_map(|(x, e)| format!("{x}.e{e}")),
        prop::sample::select(vec![
            "true", "false", "()", "inf", "-inf", "1_000", "+3", ".5", "b1", "r#type", "r#true", "r#None", "r#a.b-c",
            "Name", "None", "0b101", "7u8"
        ])
        .prop_map(str::to_owned),
        any::<String>().prop_map(|x| ron::to_string(&x).unwrap()),
        any::<char>().prop_map(|x| ron::to_string(&x).unwrap()),
        prop::sample::select(vec![
            "r\"a\\b\"",
            "r#\"a\"b\"#",
            "r##\"\"#\"##",
            "\"\\u{e9}\\x41\\n\"",
            "'\\''",
            "'''",
            "'\\u{1F600}'"
        ])
        .prop_map(str::to_owned),
    ]
}

/// Joins parts as RON joins entries, with comments and spaces wherever they may be.
fn entries(parts: Vec<String>, spaces: &[&str], trailing: bool) -> String {
    let mut text = String::new();
    let last = parts.len().saturating_sub(1);
    for (index, part) in parts.iter().enumerate() {
        text += spaces[index % spaces.len()];
        text += part;
        text += spaces[(index + 1) % spaces.len()];
        if index < last || trailing {
            text.push(',');
        }
    }
    text + spaces[0]
}

fn document() -> impl Strategy<Value = String> {
    let deeper = |inner: BoxedStrategy<String>| {
        let parts = prop::collection::vec(inner, 0..4);
        (parts, prop::collection::vec(space(), 3), any::<bool>(), 0..7).prop_map(|(parts, spaces, trailing, shape)| {
            let trailing = trailing && !parts.is_empty();
            let named = |key: fn(usize) -> String| {
                let with_keys = parts.iter().enumerate();
                with_keys.map(|(i, part)| format!("{}{}:{}{part}", key(i), spaces[1], spaces[2])).collect::<Vec<_>>()
            };
            match shape {
                0 => format!("[{}]", entries(parts, &spaces, trailing)),
                1 => format!("({})", entries(parts, &spaces, trailing)),
                2 => format!("Name{}({})", spaces[0], entries(parts, &spaces, trailing)),
                3 => format!("{{{}}}", entries(named(|i| format!("\"k{i}\"")), &spaces, trailing)),
                4 => format!("{{{}}}", entries(named(|i| format!("{i}")), &spaces, trailing)),
                5 => format!("({})", entries(named(|i| format!("f_{i}")), &spaces, trailing)),
                _ => format!("Name{}({})", spaces[0], entries(named(|i| format!("f{i}")), &spaces, trailing)),
            }
        })
    };
    let value = scalar().boxed().prop_recursive(4, 40, 4, move |inner| deeper(inner.boxed()).boxed());
    (space(), value, space()).prop_map(|(before, value, after)| format!("{before}{value}{after}\n"))
}

/// Pieces that make nearly right texts.
fn soup() -> impl Strategy<Value = String> {
    let pieces = vec![
        "(", ")", "[", "]", "{", "}", ",", ":", "a", "Some", "None", "Pipeline", "stages", "name", "1", "-2.5e-3",
        "\"s\"", "'c'", "true", " ", "\n", "// c\n", "/* */", "/*", "r#\"x\"#", "r#", "r", "\"", "'", "\\", "=", ";",
        "..", "#", "é", "\u{0}",
    ];
    prop::collection::vec(prop::sample::select(pieces), 0..24).prop_map(|pieces| pieces.concat())
}

/// A right text with a few bytes' worth of damage.
fn damaged() -> impl Strategy<Value = String> {
    let cut = (any::<prop::sample::Index>(), 0..6usize, soup());
    prop::collection::vec(cut, 1..4).prop_map(|cuts| {
        let mut chars: Vec<char> = EXAMPLE.chars().collect();
        for (at, length, insert) in cuts {
            let at = at.index(chars.len());
            let end = (at + length).min(chars.len());
            chars.splice(at..end, insert.chars().take(4));
        }
        chars.into_iter().collect()
    })
}

fn reads_or_explains(text: &str, sets: &[String]) {
    if let Err(problems) = super::parse(text, "p.ron", sets) {
        assert!(!problems.list.is_empty());
        for (problem, line) in problems.list.iter().zip(problems.to_json().as_array().unwrap()) {
            let source = &problems.sources[problem.span.source];
            assert!(problem.span.start <= problem.span.end && problem.span.end <= source.text.len(), "{problem:?}");
            assert!(source.text.is_char_boundary(problem.span.start) && source.text.is_char_boundary(problem.span.end));
            assert!(line["line"].as_u64().unwrap() >= 1 && line["column"].as_u64().unwrap() >= 1);
        }
        assert!(problems.render(super::Look::Plain).contains(problems.to_string().lines().next().unwrap()));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn documents_mean_what_ron_says_they_mean(text in document()) {
        match ron::from_str::<ron::Value>(&text) {
            Ok(value) => prop_assert_eq!(ours(&text).map(with_one_empty), Some(with_one_empty(value)), "{}", text),
            Err(error) => prop_assert_eq!(ours(&text), None, "{}: {}", text, error),
        }
    }

    #[test]
    fn nothing_is_accepted_that_ron_rejects(text in soup()) {
        if let Some(value) = ours(&text) {
            let theirs = ron::from_str::<ron::Value>(&text).ok();
            prop_assert_eq!(theirs.map(with_one_empty), Some(with_one_empty(value)), "{}", text);
        }
    }

    #[test]
    fn any_text_is_read_or_explained(text in prop_oneof![any::<String>(), soup(), damaged()]) {
        reads_or_explains(&text, &[]);
    }

    #[test]
    fn any_set_is_applied_or_explained(
        path in prop_oneof![
            any::<String>(),
            prop::collection::vec(
                prop::sample::select(vec!["train", "optimizer", "lr", "Adam", "stages", "evaluate", "metrics", "0", "9", "golden",
                    "download", "dataset", "when_missing", "valid", "betas", "", "epocs", "name"]), 0..5)
                .prop_map(|parts| parts.join(".")),
        ],
        value in prop_oneof![any::<String>(), soup(), document()],
    ) {
        reads_or_explains(EXAMPLE, &[format!("{path}={value}"), path]);
    }

    #[test]
    fn our_decoder_agrees_with_ron_on_pipelines(epochs in 1usize..99, lr in 1e-6f64..1.0, dropout in 0.0f32..0.99, share in 0.01f64..0.99,
                                                 name in "[a-z\"\\\\é]{1,8}", fill in any::<Option<i16>>()) {
        let mut pipeline = super::parse(EXAMPLE, "p.ron", &[]).unwrap().pipeline;
        pipeline.name = name;
        for stage in pipeline.stages.values_mut() {
            match stage {
                super::Stage::Train(train) => {
                    train.epochs = epochs;
                    train.optimizer = crate::optim::Adam { lr, ..Default::default() }.into();
                }
                super::Stage::BuildModel(model) => model.arch = crate::model::Mmoe { dropout, ..Default::default() }.into(),
                super::Stage::Preprocess(preprocess) => {
                    preprocess.valid = super::Valid::FromTrain(share);
                    preprocess.fill = fill.map(|number| super::Fill::Number(number.into()));
                }
                _ => {}
            }
        }
        let text = crate::registry::to_ron(&pipeline);
        let options = ron::Options::default().with_default_extension(ron::extensions::Extensions::UNWRAP_VARIANT_NEWTYPES);
        prop_assert_eq!(&options.from_str::<Pipeline>(&text).unwrap(), &pipeline);
        let (tree, problems) = parse_file(&text, 0);
        let tree = tree.unwrap();
        let decoded = decode::<Pipeline>(&tree);
        prop_assert!(problems.is_empty() && decoded.problems.is_empty());
        prop_assert_eq!(decoded.value.as_ref(), Some(&pipeline));
        // Already canonical: nothing moves.
        prop_assert_eq!(canonical(&pipeline, &tree).to_string(), tree.to_string());
    }
}
