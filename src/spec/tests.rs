//! The language as its users meet it: what is accepted, what is rejected, where and with which advice.

mod checks;

use insta::assert_snapshot;

use super::*;
use crate::balance::Balancer;
use crate::data::{AliExpress, Country, Dataset};
use crate::metric::Metric;
use crate::model::{Arch, Mmoe, Sizes};
use crate::optim::{Adam, Optimizer};
use crate::registry::{Entry, to_ron};

/// DESIGN's example, nearly without spaces.
pub(super) const SHORT: &str = r#"(name: "p", stages: {
    "d": Download(dataset: AliExpress()),
    "p": Preprocess(from: "d"),
    "m": BuildModel(data: "p", arch: Mmoe()),
    "t": Train(model: "m", data: "p"),
    "e": Evaluate(model: "t", data: "p"),
})"#;

pub(super) fn read(text: &str) -> Pipeline {
    parse(text, "p.ron", &[]).unwrap_or_else(|problems| panic!("{}", problems.render(Look::Plain))).pipeline
}

pub(super) fn read_with(text: &str, sets: &[&str]) -> Pipeline {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    parse(text, "p.ron", &sets).unwrap_or_else(|problems| panic!("{}", problems.render(Look::Plain))).pipeline
}

/// All problems, a line each: `line:column: message | hint`.
pub(super) fn wrong(text: &str) -> String {
    wrong_with(text, &[])
}

pub(super) fn wrong_with(text: &str, sets: &[&str]) -> String {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    let problems = parse(text, "p.ron", &sets).expect_err("the text should have problems");
    let line = |(place, problem): (&str, &Problem)| match &problem.hint {
        Some(hint) => format!("{} | {hint}", place.trim_start_matches("p.ron:")),
        None => place.trim_start_matches("p.ron:").to_owned(),
    };
    problems.to_string().lines().zip(&problems.list).map(line).collect::<Vec<_>>().join("\n")
}

/// The short pipeline with one piece replaced.
pub(super) fn short_with(from: &str, to: &str) -> String {
    assert!(SHORT.contains(from), "{from}");
    SHORT.replacen(from, to, 1)
}

pub(super) fn train(pipeline: &Pipeline, name: &str) -> Train {
    match &pipeline.stages[name] {
        Stage::Train(train) => train.clone(),
        other => panic!("`{name}` is a {}", other.kind()),
    }
}

// --- accepted ---

#[test]
fn the_main_example_means_what_it_says() {
    let pipeline = read(include_str!("../../pipelines/es_mmoe_famo.ron"));
    assert_eq!(pipeline.name, "es_mmoe_famo");
    let names: Vec<_> = pipeline.stages.iter().map(|(name, stage)| (name.as_str(), stage.kind())).collect();
    let expected = [
        ("download", "Download"),
        ("preprocess", "Preprocess"),
        ("model", "BuildModel"),
        ("train", "Train"),
        ("evaluate", "Evaluate"),
    ];
    assert_eq!(names, expected);
    let Stage::Download(download) = &pipeline.stages["download"] else { panic!() };
    assert_eq!(download.dataset, Dataset::AliExpress(AliExpress { country: Country::ES }));
    assert_eq!(download.when_missing, WhenMissing::Simulate { rows: 60_000, seed: 7 });
    let Stage::BuildModel(model) = &pipeline.stages["model"] else { panic!() };
    assert_eq!((&model.arch, model.sizes), (&Arch::Mmoe(Mmoe { experts: 8, ..Mmoe::default() }), Sizes::Paper));
    let train = train(&pipeline, "train");
    assert_eq!((train.balancer.name(), train.epochs, train.batch, train.patience), ("Famo", 50, 2048, 3));
    assert_eq!(train.optimizer, Optimizer::Adam(Adam { lr: 1e-3, weight_decay: 1e-6, ..Adam::default() }));
    let Stage::Evaluate(evaluate) = &pipeline.stages["evaluate"] else { panic!() };
    assert_eq!((evaluate.metrics.as_slice(), evaluate.on), ([Metric::Auc, Metric::LogLoss].as_slice(), On::Test));
    assert_eq!(
        pipeline.golden,
        Some(Golden { file: "golden/es_mmoe_famo.ron".to_owned(), tolerance: 0.002, metrics: vec![] })
    );
}

#[test]
fn the_other_pipelines_have_no_problems() {
    let quickstart = read(include_str!("../../pipelines/quickstart.ron"));
    assert!(
        matches!(&quickstart.stages["log"], Stage::Download(Download { dataset: Dataset::Simulated(log), .. }) if log.rows == 60_000)
    );
    let census = read(include_str!("../../pipelines/census_mmoe.ron"));
    let Stage::Preprocess(preprocess) = &census.stages["preprocess"] else { panic!() };
    assert_eq!((preprocess.test, preprocess.valid), (Test::Random(0.2), Valid::FromTrain(0.25)));
    let toy = read(include_str!("../../pipelines/toy.ron"));
    assert!(matches!(&toy.stages["toy"], Stage::Toy(toy) if toy.balancers.len() == 9 && toy.starts == Toy::STARTS));
}

#[test]
fn everything_omitted_has_its_default() {
    let train = train(&read(SHORT), "t");
    assert_eq!((train.balancer, train.optimizer), (Balancer::default(), Optimizer::default()));
    assert_eq!((train.epochs, train.batch, train.patience, train.seed), (50, 2048, 3, 1));
}

#[test]
fn one_meaning_has_many_spellings() {
    let plain = read(&short_with("arch: Mmoe()", "arch: Mmoe(experts: 4, dropout: 0.5)"));
    for other in [
        "Mmoe(dropout: 5e-1, experts: 0x4)",
        "Mmoe((experts: 4, dropout: 0.5))",
        "Mmoe(Mmoe(experts: 4, dropout: 0.5,))",
    ] {
        assert_eq!(read(&short_with("arch: Mmoe()", &format!("arch: /* here */ {other}"))), plain, "{other}");
    }
    let bare = read(&short_with("Mmoe()", "Mmoe"));
    assert_eq!(bare, read(SHORT));
    let path = |written: &str| read(&short_with("AliExpress()", &format!("AliExpress(), path: {written}")));
    assert_eq!(path("\"x\""), path("Some(\"x\")"));
    assert_eq!(path("None"), read(SHORT));
    let golden = |written: &str| read(&short_with("\n})", &format!("\n}}, golden: {written})")));
    assert_eq!(golden("Golden(file: \"g\")"), golden("Some(Golden(file: \"g\"))"));
    assert_eq!(golden("(file: \"g\")"), golden("Some((file: \"g\"))"));
    assert_eq!(
        read(&format!("\u{feff}#![enable(implicit_some, unwrap_variant_newtypes,)]\n Pipeline{SHORT} // end")),
        read(SHORT)
    );
}

#[test]
fn everything_registered_can_be_written_with_its_defaults_or_by_name_alone() {
    fn decoded<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Vec<Problem>> {
        let (tree, problems) = parse::parse_file(text, 0);
        let decoded = decode::<T>(&tree.ok_or(problems)?);
        decoded.value.ok_or(decoded.problems)
    }
    fn check<T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug>(entries: Vec<Entry>) {
        assert!(!entries.is_empty());
        for entry in entries {
            let spelt_out: T = decoded(&entry.defaults).unwrap_or_else(|problems| panic!("{entry:?}: {problems:?}"));
            assert_eq!(to_ron(&spelt_out), entry.defaults);
            // A data set may have fields without defaults; what can be written by name alone must mean the defaults.
            if let Ok(by_name) = decoded::<T>(entry.name) {
                assert_eq!(by_name, spelt_out);
            }
        }
    }
    check::<Balancer>(Balancer::entries());
    check::<Arch>(Arch::entries());
    check::<Optimizer>(Optimizer::entries());
    check::<Dataset>(Dataset::entries());
    assert!(Balancer::entries().iter().all(|entry| decoded::<Balancer>(entry.name).is_ok()));
}

// --- syntax ---

#[test]
fn syntax_errors_say_what_was_expected() {
    let cases = [
        "(name: \"p\"",
        "",
        "(name: \"p\", stages: {\"a\": Train(]})",
        "(name: \"p)",
        "(name: \"a\\qb\", stages: {})",
        "(name: r#\"p\")",
        "/* (name: 1)",
        "(name: @)",
        "(name: 1x, stages: 1..2)",
        "(name: 'ab', stages: b\"x\")",
        "(name: \"p\") more",
        "(name: \"p\", 3)",
        "(\"name\": \"p\")",
        "(name = \"p\"; stages: {\"a\" \"b\"})",
        "#![enable(explicit_struct_names)] ()",
        "#[x] ()",
    ];
    let all: Vec<String> =
        cases.iter().map(|text| format!("{text}\n  {}", wrong(text).replace('\n', "\n  "))).collect();
    assert_snapshot!(all.join("\n"), @r##"
    (name: "p"
      1:1: unclosed `(`: expected `)`, found the end

      1:1: expected a value, found the end
    (name: "p", stages: {"a": Train(]})
      1:33: expected `)`, found `]`
    (name: "p)
      1:8: unclosed string | close it with `"`
    (name: "a\qb", stages: {})
      1:8: `"a\qb"` is no string
    (name: r#"p")
      1:8: unclosed raw string | close it with `"#`
    /* (name: 1)
      1:1: unclosed comment | close it with `*/`
    (name: @)
      1:8: expected a value, found `@`
    (name: 1x, stages: 1..2)
      1:8: `1x` is no number
      1:20: `1..2` is no number
    (name: 'ab', stages: b"x")
      1:8: `'ab'` is no character
      1:22: byte strings have no place in a pipeline | write a plain string: `".."`
    (name: "p") more
      1:13: expected nothing more, found `more`
    (name: "p", 3)
      1:13: expected a field's name, found `3` | fields are written `name: value`
    ("name": "p")
      1:8: expected `,` or `)`, found `:`
    (name = "p"; stages: {"a" "b"})
      1:7: expected `:`, found `=` | a name and its value are joined by `:`
      1:12: expected `,` or `)`, found `;` | separate with `,`
      1:27: expected `:`, found a string
    #![enable(explicit_struct_names)] ()
      1:11: unsupported extension `explicit_struct_names` | the extensions are `unwrap_newtypes`, `implicit_some`, `unwrap_variant_newtypes`
    #[x] ()
      1:2: expected `!`, found `[`
    "##);
}

#[test]
fn unclosed_brackets_point_at_the_opening_one_too() {
    let problems = parse("(name: \"p\",\n stages: {\n  \"a\": Train(\n }\n)\n", "p.ron", &[]).unwrap_err();
    assert_snapshot!(problems.render(Look::Plain), @r#"
    p.ron:4:2: expected `)`, found `}`
       ,-[p.ron:4:2]
     2 |  stages: {
     3 |   "a": Train(
       :             |
       :             `-- this `(` is still open
     4 |  }
       :  ^
     5 | )
       `----
    "#);
}

#[test]
fn a_missing_comma_does_not_hide_what_follows() {
    assert_snapshot!(wrong("(name: \"p\"\n stages: {\n  \"t\": Train(model: \"m\", data: 3 epocs: 1)\n }\n golden: 1x)"), @r#"
    2:2: expected `,` or `)`, found `stages` | separate with `,`
    3:32: expected a string, found the number `3` | strings have quotes: `"3"`
    3:34: expected `,` or `)`, found `epocs` | separate with `,`
    3:34: unknown field `epocs` of `Train` | did you mean `epochs`? the fields of `Train` are `model`, `data`, `balancer`, `optimizer`, `epochs`, `batch`, `patience`, `seed`, `resources`
    5:2: expected `,` or `)`, found `golden` | separate with `,`
    5:10: `1x` is no number
    "#);
}

#[test]
fn repeated_fields_and_keys_point_at_both() {
    let problems = parse("(name: \"p\", name: \"q\", stages: {\"a\": 1, \"a\": 2})", "p.ron", &[]).unwrap_err();
    let twice = problems.list.iter().filter(|problem| !problem.related.is_empty());
    let places: Vec<_> = twice.map(|p| (p.message.as_str(), p.span.start, p.related[0].0.start)).collect();
    assert_eq!(places[0], ("field `name` is given twice", 12, 1));
    assert_eq!(places[1], ("key `a` is given twice", 40, 32));
}

#[test]
fn nesting_has_an_end() {
    let deep = "[".repeat(100_000);
    assert_snapshot!(wrong(&deep), @"1:129: nested more than 128 brackets deep");
    assert_snapshot!(wrong(&"(a:".repeat(100_000)), @"1:385: nested more than 128 brackets deep");
    assert_snapshot!(wrong(&"/*".repeat(100_000)), @"1:1: unclosed comment | close it with `*/`");
    assert!(wrong(&format!("1{}", "e".repeat(1_000_000))).starts_with("1:1: `1eee"));
}

// --- types ---

#[test]
fn unknown_names_come_with_the_nearest_spelling() {
    let cases = [
        ("(name:", "(nmae:"),
        ("Evaluate(", "Evalute("),
        ("Mmoe()", "mmoe()"),
        ("Mmoe()", "Mmoe(expert: 4)"),
        ("AliExpress()", "AliExpress(country: DE)"),
        ("Mmoe()", "Mmoe(), sizes: small"),
        ("model: \"m\",", "model: \"m\", optimizer: Adam(weightDecay: 0.1),"),
        ("from: \"d\"", "from: \"d\", valid: FromTrian(0.5)"),
        ("model: \"t\",", "model: \"t\", metrics: [Auc, Accuracy, logloss],"),
        ("AliExpress()", "CensusIncome(country: ES)"),
    ];
    let all: Vec<String> = cases.iter().map(|(from, to)| wrong(&short_with(from, to))).collect();
    assert_snapshot!(all.join("\n"), @"
    1:2: unknown field `nmae` of `Pipeline` | did you mean `name`? the fields of `Pipeline` are `name`, `stages`, `golden`, `resources`
    6:10: unknown stage kind `Evalute` | did you mean `Evaluate`? one of these may stand here: `Download`, `Preprocess`, `BuildModel`, `Train`, `Evaluate`, `Predict`, `Compare`, `Toy`
    4:38: unknown model architecture `mmoe` | did you mean `Mmoe`? one of these may stand here: `SingleTask`, `SharedBottom`, `Omoe`, `Mmoe`, `Ple`, `Aitm`, `Esmm`, `Stem`, `MetaHeac`, `DsMoe`
    4:43: unknown field `expert` of `Mmoe` | did you mean `experts`? the fields of `Mmoe` are `experts`, `dropout`
    2:48: unknown country `DE` | one of these may stand here: `NL`, `ES`, `FR`, `US`, `RU`
    4:53: unknown value `small` | did you mean `Small`? one of these may stand here: `Paper`, `Small`, `Tiny`, `Custom`
    5:44: unknown field `weightDecay` of `Adam` | did you mean `weight_decay`? the fields of `Adam` are `lr`, `betas`, `eps`, `weight_decay`
    3:39: unknown value `FromTrian` | did you mean `FromTrain`? one of these may stand here: `FromTest`, `FromTrain`, `Latest`
    6:46: unknown metric `Accuracy` | one of these may stand here: `Auc`, `LogLoss`, `Gauc`, `PrAuc`, `Ece`, `CalibrationRatio`
    6:56: unknown metric `logloss` | did you mean `LogLoss`? one of these may stand here: `Auc`, `LogLoss`, `Gauc`, `PrAuc`, `Ece`, `CalibrationRatio`
    2:41: unknown field `country` of `CensusIncome` | the fields of `CensusIncome` are `chained`
    ");
    let balancer =
        |name: &str| wrong(&short_with("Train(model: \"m\"", &format!("Train(balancer: {name}, model: \"m\"")));
    assert!(
        balancer("nash_mtl()").starts_with("5:26: unknown balancer `nash_mtl` | did you mean `NashMtl`?"),
        "{}",
        balancer("nash_mtl()")
    );
    assert!(balancer("Fano").contains("did you mean `Famo`?"));
    assert!(balancer("Transformer").contains("| one of these may stand here: `"));
}

#[test]
fn values_of_another_type_say_what_belongs_there() {
    let cases = [
        ("from: \"d\"", "from: d"),
        ("from: \"d\"", "from: 3"),
        ("from: \"d\"", "from: \"d\", seed: -1"),
        ("from: \"d\"", "from: \"d\", seed: 1e3"),
        ("from: \"d\"", "from: \"d\", seed: \"7\""),
        ("from: \"d\"", "from: \"d\", seed: 99999999999999999999"),
        ("from: \"d\"", "from: \"d\", valid: 0.5"),
        ("from: \"d\"", "from: \"d\", valid: FromTest"),
        ("from: \"d\"", "from: \"d\", valid: FromTest(0.5, 0.5)"),
        ("from: \"d\"", "from: \"d\", valid: FromTest(share: 0.5)"),
        ("from: \"d\"", "from: \"d\", test: AsGiven(1)"),
        ("from: \"d\"", "from: \"d\", fill: Some"),
        ("AliExpress()", "AliExpress(country: \"es\")"),
        ("AliExpress()", "AliExpress(country: [ES])"),
        ("Mmoe()", "Mmoe(8)"),
        ("Mmoe()", "Mmoe(experts: 4.5)"),
        ("Mmoe()", "Mmoe(), sizes: Custom(embed: 8, bottom: [8, 4], tower: (8, 4, 2))"),
        ("data: \"p\", arch", "data: \"p\", sizes: Custom(embed: 8), arch"),
        ("model: \"t\",", "model: \"t\", metrics: Auc,"),
        ("Download(", "("),
        ("stages: {", "stages: [], golden: {"),
        ("(name:", "Sweep(name:"),
    ];
    let all: Vec<String> = cases
        .iter()
        .map(|(from, to)| format!("{to}\n  {}", wrong(&short_with(from, to)).replace('\n', "\n  ")))
        .collect();
    assert_snapshot!(all.join("\n"), @r#"
    from: d
      3:27: expected a string, found the name `d` | strings have quotes: `"d"`
    from: 3
      3:27: expected a string, found the number `3` | strings have quotes: `"3"`
    from: "d", seed: -1
      3:38: expected a whole number of at least 0, found the number `-1`
    from: "d", seed: 1e3
      3:38: expected a whole number of at least 0, found the number `1e3` | write `1000`
    from: "d", seed: "7"
      3:38: expected a whole number of at least 0, found the string "7" | numbers have no quotes: `7`
    from: "d", seed: 99999999999999999999
      3:38: expected a whole number of at least 0, found the number `99999999999999999999`
    from: "d", valid: 0.5
      3:39: expected one of `FromTest`, `FromTrain`, `Latest`, found the number `0.5`
    from: "d", valid: FromTest
      3:39: `FromTest` needs a value | write `FromTest(..)` with the value in the brackets
    from: "d", valid: FromTest(0.5, 0.5)
      3:39: expected one value, found 2
    from: "d", valid: FromTest(share: 0.5)
      3:39: `FromTest` needs a value | write `FromTest(..)` with the value in the brackets
    from: "d", test: AsGiven(1)
      3:38: `AsGiven` takes nothing in brackets | write `AsGiven`
    from: "d", fill: Some
      3:38: `Some` needs a value | write `Some(..)` with the value in the brackets
    AliExpress(country: "es")
      2:48: expected a country, found the string "es" | names have no quotes: `ES`
    AliExpress(country: [ES])
      2:48: expected a country, found a list | write one of `NL`, `ES`, `FR`, `US`, `RU`
    Mmoe(8)
      4:43: expected `Mmoe(..)`, found the number `8` | write `Mmoe(field: value, ..)`
    Mmoe(experts: 4.5)
      4:52: expected a whole number of at least 0, found the number `4.5`
    Mmoe(), sizes: Custom(embed: 8, bottom: [8, 4], tower: (8, 4, 2))
      4:78: expected 2 values in round brackets, found a list | use round brackets: `(a, b)`
      4:93: expected 2 values in round brackets, found 3
    data: "p", sizes: Custom(embed: 8), arch
      4:39: missing field `bottom` of `Custom` | `bottom` has no default: add `bottom: ..`
    model: "t", metrics: Auc,
      6:40: expected a list, found the name `Auc` | a list is written `[a, b]`
    (
      2:10: expected a stage kind, found named fields in round brackets | write one of `Download`, `Preprocess`, `BuildModel`, `Train`, `Evaluate`, `Predict`, `Compare`, `Toy`
    stages: [], golden: {
      1:21: expected a map, found a list | a map is written `{ "name": value, .. }`
      1:33: expected `Golden(..)`, found a map | write `Golden(field: value, ..)`
    Sweep(name:
      1:1: this is a sweep, not a pipeline | `mtorec sweep p.ron` runs it, and `mtorec report p.ron` shows what it came to
    "#);
}

#[test]
fn a_missing_field_is_named_with_what_misses_it() {
    assert_snapshot!(wrong("(stages: {})"), @"1:1: missing field `name` of `Pipeline` | `name` has no default: add `name: ..`");
    assert_snapshot!(wrong(&short_with("from: \"d\"", "")), @"3:10: missing field `from` of `Preprocess` | `from` has no default: add `from: ..`");
    assert_snapshot!(wrong(&short_with("AliExpress()", "Csv(train: \"t.csv\"), when_missing: Simulate")), @"
    2:28: missing field `labels` of `Csv` | `labels` has no default: add `labels: ..`
    2:63: missing field `rows` of `Simulate` | `rows` has no default: add `rows: ..`
    ");
}

#[test]
fn all_problems_of_a_file_are_reported_at_once() {
    let text = r#"(
    name: "two words",
    stages: {
        "d": Download(dataset: AliExpres(country: ES), pth: "x"),
        "p": Preprocess(from: d, valid: FromTest(1.5), sed: 3),
        "m": BuildModel(data: "q", arch: Mmoe(experts: 0, dropout: "high")),
        "t": Train(model: "m", data: "p", optimizer: Adam(lr: -1), epocs: 3, batch: 1x),
        "e": Evaluate(model: "t", data: "d", metrics: [Auc, Acc, Auc], on: test),
        "a": Train(model: "b", data: "p"),
        "b": Train(model: "a", data: "p", epochs: 0),
    },
    golden: Golden(file: "", tolerance: -1, tolerance: 0),
)"#;
    assert_snapshot!(wrong(text), @r#"
    2:11: the pipeline's name may not hold ' ' | use letters, digits, `_`, `-` and `.`; the first is a letter, a digit or `_`
    4:32: unknown data set `AliExpres` | did you mean `AliExpress`? one of these may stand here: `AliExpress`, `CensusIncome`, `Csv`, `Simulated`
    4:56: unknown field `pth` of `Download` | did you mean `path`? the fields of `Download` are `dataset`, `path`, `when_missing`, `fetch`, `resources`
    5:31: expected a string, found the name `d` | strings have quotes: `"d"`
    5:50: `FromTest` should be a share between 0 and 1, both excluded, not 1.5
    5:56: unknown field `sed` of `Preprocess` | did you mean `seed`? the fields of `Preprocess` are `from`, `valid`, `test`, `by`, `seed`, `fill`, `max_bad_rows`, `resources`
    6:31: no stage `q` | `data` takes a `Preprocess`: `p`
    6:56: `experts` should be at least 1, not 0
    6:68: expected a number, found the string "high"
    7:63: `lr` should be a positive number, not -1
    7:68: unknown field `epocs` of `Train` | did you mean `epochs`? the fields of `Train` are `model`, `data`, `balancer`, `optimizer`, `epochs`, `batch`, `patience`, `seed`, `resources`
    7:85: `1x` is no number
    8:41: `d` is a `Download`, which may not be the `data` of `e` | `data` takes a `Preprocess`: `p`
    8:61: unknown metric `Acc` | did you mean `Auc`? one of these may stand here: `Auc`, `LogLoss`, `Gauc`, `PrAuc`, `Ece`, `CalibrationRatio`
    8:66: metric `Auc` is given twice
    8:76: unknown value `test` | did you mean `Test`? one of these may stand here: `Train`, `Valid`, `Test`
    9:27: the stages form a cycle: a → b → a | a stage cannot read what is made from its own result
    10:51: `epochs` should be at least 1, not 0
    12:26: `file` is empty | give a path, or leave the field out
    12:41: `tolerance` should be a number of at least 0, not -1
    12:45: field `tolerance` is given twice | remove one of the two
    "#);
}

#[test]
fn a_hundred_problems_are_enough() {
    let many: String = (0..500).map(|i| format!("\"s{i}\": Trian(),")).collect();
    let problems = parse(&format!("(name: \"p\", stages: {{{many}}})"), "p.ron", &[]).unwrap_err();
    assert_eq!(problems.list.len(), 100);
}

// --- what types cannot say ---

#[test]
fn files_are_read_and_missing_ones_explained() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("es_mmoe_famo.ron");
    std::fs::write(&path, SHORT).unwrap();
    let loaded = load(&path, &["t.epochs=2".to_owned()]).unwrap();
    assert_eq!((loaded.text.as_str(), &loaded.path, train(&loaded.pipeline, "t").epochs), (SHORT, &path, 2));

    let problems = load(folder.path().join("es_mmoe_fmao.ron"), &[]).unwrap_err();
    assert!(problems.list[0].message.starts_with("cannot read the file: "), "{problems}");
    assert!(problems.list[0].hint.as_ref().unwrap().ends_with("es_mmoe_famo.ron`?"));
    assert!(load(folder.path(), &[]).unwrap_err().list[0].message.starts_with("cannot read the file: "));

    std::fs::write(&path, b"(name:\n \"\xc3\xa9\xff\")").unwrap();
    let problems = load(&path, &[]).unwrap_err();
    assert!(problems.to_string().ends_with("es_mmoe_famo.ron:2:4: the file is not UTF-8 text"), "{problems}");
}

/// A log and the stage that reads it.
fn log(csv: &str, preprocess: &str) -> String {
    format!(
        r#"(name: "n", stages: {{
        "d": Download(dataset: Csv(train: "a.csv", labels: ["y"], categorical: ["shop"], numerical: ["views"], {csv})),
        "p": Preprocess(from: "d", {preprocess}),
    }})"#
    )
}

#[test]
fn transforms_and_hashes_name_columns_of_their_kind() {
    let found = wrong(&log(
        r#"transforms: {"view": Log1p, "views": Log1p}, hashed: {"views": 10, "shop": 0}, min_count: 0, delimiter: 'x'"#,
        "test: Random(0.2), fill: -1",
    ));
    for expected in [
        "`transforms` names `view`, which is none of the numerical columns | did you mean `views`?",
        "`hashed` names `views`, which is none of the categorical columns | these are: `shop`",
        "`shop` cannot be hashed to 0 ids | from 1 to 50,000,000 rows of the embedding table",
        "`min_count` should be at least 1, not 0",
        "'x' cannot stand between fields | a comma, a semicolon, a bar, a tab or the like: `delimiter: ';'`",
        "`views` takes ln(1 + x) of numbers from 0 on, not of -1 | fill with 0.0 or more, or with `Mean`",
    ] {
        assert!(found.contains(expected), "{expected}:\n{found}");
    }
    assert_eq!(found.lines().count(), 6, "{found}");
    let fine = r#"transforms: {"views": Log1pStandardise}, hashed: {"shop": 10}, min_count: 2, delimiter: '|'"#;
    read(&log(fine, "test: Random(0.2), fill: Mean, max_bad_rows: 3"));
}

#[test]
fn splits_by_group_or_time_need_a_log_that_has_them() {
    let found = wrong(&log("", "test: Latest(0.2), valid: Latest(0.1), by: Group"));
    for expected in [
        r#"the log of `d` has no groups | name the column that tells them: `Csv(.., group: "..")`"#,
        r#"the log of `d` has no times | name the column that tells them: `Csv(.., time: "..")`"#,
    ] {
        assert!(found.contains(expected), "{expected}:\n{found}");
    }
    assert_eq!(found.lines().count(), 3, "{found}");
    read(&log(r#"group: "user", time: "at""#, "test: Latest(0.2), valid: Latest(0.1), by: Group"));
    let census = r#"(name: "n", stages: {
        "d": Download(dataset: CensusIncome()),
        "p": Preprocess(from: "d", test: Random(0.2), by: Group),
    })"#;
    assert!(wrong(census).contains("the log of `d` has no groups | draw the rows at random"), "{}", wrong(census));
}

#[test]
fn what_stands_for_missing_numbers_is_a_number_or_the_mean() {
    let fill = |written: &str| {
        let text = SHORT.replace(r#"Preprocess(from: "d")"#, &format!(r#"Preprocess(from: "d", fill: {written})"#));
        let Stage::Preprocess(stage) = &read(&text).stages["p"] else { panic!() };
        stage.fill
    };
    assert_eq!(fill("0"), Some(crate::spec::Fill::Number(0.0)));
    assert_eq!(fill("-0.1"), Some(crate::spec::Fill::Number(-0.1)));
    assert_eq!(fill("Some(2.5)"), Some(crate::spec::Fill::Number(2.5)));
    assert_eq!(fill("Mean"), Some(crate::spec::Fill::Mean));
    assert_eq!(fill("None"), None);
    let refused = wrong(&log("", "test: Random(0.2), fill: Median"));
    assert!(refused.contains("`Median`") && refused.contains("`Number`, `Mean`"), "{refused}");
}
