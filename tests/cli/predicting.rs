//! The `Predict` stage as its users meet it.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use mtorec::data::EncodedDataset;
use mtorec::model::{ModelCard, Network, read_checkpoint};
use mtorec::stage::evaluate::predict;
use mtorec::tensor::{Cpu, Workspace};

use crate::project::{Called, Project};

/// Rows whose labels depend on both columns, from a fixed recurrence.
fn rows(count: usize, mut state: u64, shops: u64) -> String {
    let mut text = "shop,price,user,like,buy\n".to_owned();
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for row in 0..count {
        let (shop, price) = (next(shops), next(1000) as f64 / 1000.0 - 0.5);
        let like = u8::from(next(100) < 20 + 7 * (shop % 8) + (20.0 * (price + 0.5)) as u64);
        let _ = writeln!(text, "s{shop},{price},\"u,{row}\",{like},{}", u8::from(next(100) < 40 && like == 1));
    }
    text
}

/// One row more than a batch of scores, and shops that no training row has.
fn project() -> Project {
    let project = Project::new();
    fs::write(project.path("train.csv"), rows(1500, 1, 8)).unwrap();
    fs::write(project.path("test.csv"), rows(4097, 2, 9)).unwrap();
    let log = r#"Csv(train: "train.csv", test: "test.csv", categorical: ["shop"], numerical: ["price"], labels: ["like", "buy"])"#;
    project.edit("Simulated(rows: 2000, seed: 7)", log);
    project.edit("FromTest(0.5)", "FromTrain(0.2)");
    add(&project, r#"rows: "test.csv", keep: ["user", "like", "buy"]"#);
    project
}

fn add(project: &Project, fields: &str) {
    let stage = format!("\"score\": Predict(model: \"train\", data: \"preprocess\", {fields}),\n    }},\n    golden");
    project.edit("},\n    golden", &stage);
}

/// The file that a run names, line by line without its header.
fn predictions(project: &Project, run: &Called) -> (String, Vec<String>) {
    let line = run.out.lines().find_map(|line| line.strip_prefix("predictions: "));
    let text = fs::read_to_string(project.path(line.unwrap_or_else(|| panic!("{run:?}")))).unwrap();
    let mut lines = text.lines().map(str::to_owned);
    (lines.next().unwrap(), lines.collect())
}

/// Where the files of a stage's artifact lie.
fn folder(project: &Project, stage: &str) -> PathBuf {
    project.largest_file(stage).parent().unwrap().to_path_buf()
}

/// How often a positive's score is above a negative's, pair by pair.
fn auc(scored: &[(f32, bool)]) -> f64 {
    let (mut wins, mut pairs) = (0.0, 0.0);
    for positive in scored.iter().filter(|row| row.1) {
        for negative in scored.iter().filter(|row| !row.1) {
            pairs += 1.0;
            wins += match positive.0.total_cmp(&negative.0) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            };
        }
    }
    wins / pairs
}

#[test]
fn the_test_file_scores_as_evaluate_says() {
    let project = project();
    let run = project.call(&["run", "pipelines/small.ron"]).expect(0);
    let (header, lines) = predictions(&project, &run);
    assert_eq!(header, "user,like,buy,p_like,p_buy");
    assert_eq!(lines.len(), 4097);
    assert!(lines[0].starts_with("\"u,0\","), "{}", lines[0]);
    let json = project.call(&["metrics", "pipelines/small.ron", "--json"]).expect(0).json();
    let measured = |metric: &str, task: &str| {
        let values = json["metrics"][0]["values"].as_array().unwrap();
        let value = values.iter().find(|value| value["metric"] == metric && value["task"] == task);
        value.unwrap()["value"].as_f64().unwrap()
    };
    for (at, task) in ["like", "buy"].into_iter().enumerate() {
        let score = |line: &String| {
            // the first field holds a comma
            let cells: Vec<&str> = line.rsplitn(5, ',').collect();
            (cells[1 - at].parse().unwrap(), cells[3 - at] == "1")
        };
        let scored: Vec<(f32, bool)> = lines.iter().map(score).collect();
        // two scores may round to one probability: a pair in four million more is a tie
        let (found, expected) = (auc(&scored), measured("Auc", task));
        assert!((found - expected).abs() < 1e-5, "{task}: {found}, {expected}");
        let loss = |&(p, label): &(f32, bool)| -f64::from(if label { p } else { 1.0 - p }).ln();
        let mean = scored.iter().map(loss).sum::<f64>() / 4097.0;
        assert!((mean - measured("LogLoss", task)).abs() < 1e-6, "{task}: {mean}");
    }

    // to the bit: the logits of the rows as `Preprocess` encoded them
    let data = EncodedDataset::open(&folder(&project, "preprocess")).unwrap();
    let model = folder(&project, "train");
    let card: ModelCard = serde_json::from_slice(&fs::read(model.join("model.json")).unwrap()).unwrap();
    let device = Cpu::default();
    let mut network = Network::build(&card.arch, &card.sizes, &card.schema, 0, &device).unwrap();
    read_checkpoint(&mut network, &model.join("model.safetensors")).unwrap();
    let logits = predict(&network, &data.schema, &data.test, &Workspace::new(&device), |_| Ok(())).unwrap();
    for (row, line) in lines.iter().enumerate() {
        let printed: Vec<f32> = line.rsplit(',').take(2).map(|cell| cell.parse().unwrap()).collect();
        let sigmoid = |task: usize| (1.0 / (1.0 + (-f64::from(logits[task][row])).exp())) as f32;
        assert_eq!(
            printed.iter().map(|p| p.to_bits()).collect::<Vec<_>>(),
            [sigmoid(1), sigmoid(0)].map(f32::to_bits),
            "row {row}"
        );
    }

    let unseen = fs::read_to_string(project.path("test.csv")).unwrap().matches("\ns8,").count();
    assert!(unseen > 300 && run.out.contains(&format!("4097 rows; ids unseen in training: shop {unseen}")), "{run:?}");
    let predicted = &json["predictions"][0];
    assert_eq!((&predicted["stage"], &predicted["rows"]), (&"score".into(), &4097.into()));
    assert_eq!(predicted["unseen"], serde_json::json!([{ "field": "shop", "rows": unseen }]));
    let again = project.call(&["run", "pipelines/small.ron"]).expect(0);
    assert!(again.out.starts_with("small: every stage is up to date"), "{again:?}");

    let page = crate::report::page(&project, &["pipelines/small.ron"]);
    let path = run.out.lines().find_map(|line| line.strip_prefix("predictions: ")).unwrap();
    let share = format!("{:.2} %", unseen as f64 / 40.97);
    for text in [
        "<a href=\"#predictions\">Predictions</a>",
        &format!("score: test.csv has 4097 rows; ids unseen in training: shop {unseen}."),
        "score <span class=\"soft\">4097 rows of test.csv</span>",
        &format!("<td>shop</td><td class=\"number\">{unseen}</td><td class=\"number\">{share}</td>"),
        &format!("<code>{path}</code>"),
    ] {
        assert!(page.contains(text), "{text}");
    }
    let mean = predicted["tasks"][0]["mean"].as_f64().unwrap();
    assert!(page.contains(&format!("<td>like</td><td class=\"number\">{mean:.4}</td>")), "{mean}");
}

#[test]
fn columns_are_found_by_name_and_labels_need_not_be_there() {
    let project = project();
    project.call(&["run", "pipelines/small.ron"]).expect(0);
    let scores = |file: &str, text: &str, keep: &str| {
        fs::write(project.path(file), text).unwrap();
        let set = [format!("score.rows=\"{file}\""), format!("score.keep={keep}")];
        let run = project.call(&["run", "pipelines/small.ron", "--set", &set[0], "--set", &set[1]]).expect(0);
        predictions(&project, &run)
    };
    let (header, plain) = scores("a.csv", "price,shop\n0.5,s1\n-0.25,s2\n0.1,\"n,ew\"\n", "[]");
    assert_eq!((header.as_str(), plain.len()), ("row,p_like,p_buy", 3));
    assert!(plain[0].starts_with("1,0.") && plain[2].starts_with("3,0."), "{plain:?}");
    // another order, tabs, a column more
    let (header, other) = scores("b.tsv", "id\tshop\tprice\nx\ts1\t0.5\ny\ts2\t-0.25\nz\t\t0.1\n", "[\"id\"]");
    assert_eq!(header, "id,p_like,p_buy");
    let tails = |lines: &[String]| lines.iter().map(|l| l.split_once(',').unwrap().1.to_owned()).collect::<Vec<_>>();
    assert_eq!(tails(&other), tails(&plain));
}

#[test]
fn what_is_wrong_with_the_rows_is_named() {
    let project = project();
    project.call(&["run", "pipelines/small.ron", "--until", "train"]).expect(0);
    let refused = |text: &str| {
        fs::write(project.path("new.csv"), text).unwrap();
        project.call(&["run", "pipelines/small.ron", "--set", "score.rows=\"new.csv\""]).expect(1).err
    };
    let err = refused("shopp,prices,user\na,1,u\n");
    assert!(err.contains("new.csv:1: columns `shop`, `price`, `like` and `buy` are missing"), "{err}");
    assert!(err.contains("there is a column `shopp` (for `shop`), `prices` (for `price`)"), "{err}");
    let err = refused("shop,price,user,like,buy\na,1,u,0,0\na,x,u,0,0\n");
    assert!(err.contains("new.csv:3: column `price`: `x` is not a number"), "{err}");
    assert!(refused("shop,price,user,like,buy\n").contains("`new.csv` has no rows"));

    let set = ["--set", "score.rows=\"tset.csv\""];
    let gone = project.call(&[&["run", "pipelines/small.ron"][..], &set].concat()).expect(1);
    assert!(gone.err.contains("did you mean `test.csv`?"), "{gone:?}");
    for (set, said) in [
        ("score.rows=\" \"", "`rows` is empty"),
        ("score.keep=[\"a\", \"a\"]", "column `a` is kept twice"),
        ("score.keep=[\"\"]", "a column of `keep` has no name"),
    ] {
        let wrong = project.call(&["check", "pipelines/small.ron", "--set", set]).expect(2);
        assert!(wrong.err.contains(said), "{wrong:?}");
    }
}

/// Files without a header are laid out like the data set's own.
#[test]
fn census_rows_need_no_header() {
    let project = Project::new();
    let row = |at: usize| {
        let text = |column| match column {
            0 | 5 | 16 | 17 | 18 | 30 | 39 => (at % (column + 2)).to_string(),
            7 => ["Never married", "Widowed"][at % 2].into(),
            41 => ["- 50000.", "50000+."][at / 2 % 2].into(),
            _ => format!("c{}", at % 3),
        };
        (0..42).map(text).collect::<Vec<_>>().join(", ") + "\n"
    };
    fs::create_dir_all(project.path("data/census")).unwrap();
    fs::write(project.path("data/census/census-income.data"), (0..200).map(row).collect::<String>()).unwrap();
    fs::write(project.path("new.data"), (0..3).map(row).collect::<String>().replace("- 50000.", "")).unwrap();
    project.edit("Simulated(rows: 2000, seed: 7)", "CensusIncome()");
    project.edit("FromTest(0.5)", "FromTrain(0.2), test: Random(0.2)");
    add(&project, r#"rows: "new.data", keep: ["age"]"#);
    let run = project.call(&["run", "pipelines/small.ron"]).expect(0);
    let (header, lines) = predictions(&project, &run);
    assert_eq!((header.as_str(), lines.len()), ("age,p_income_over_50k,p_never_married", 3));
    assert!(lines[2].starts_with("0,"), "{lines:?}");
}
