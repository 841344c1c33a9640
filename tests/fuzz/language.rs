//! The language: pipeline files, sweeps, `--set`, and what `balance` is asked.

use std::fs;
use std::path::{Path, PathBuf};

use mtorec::balance::Balancer;
use mtorec::balance::ask::{Request, ask};
use mtorec::balance::driver::Rates;
use mtorec::plan::Graph;
use mtorec::registry::Entry;
use mtorec::spec::{Look, Problems, load_sweep, parse, parse_argument};

use crate::{Target, folder};

fn pipelines() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let entries = fs::read_dir(folder).expect("the pipelines");
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    paths.sort();
    paths
}

/// The text of the pipelines, or of the sweeps.
fn texts(sweeps: bool) -> Vec<String> {
    let texts = pipelines().into_iter().map(|path| fs::read_to_string(path).expect("UTF-8"));
    texts.filter(|text| text.contains("Sweep(") == sweeps).collect()
}

/// Every word and number of some texts, and signs.
fn dictionary<'a>(texts: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let signs = [
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ":",
        ",",
        "\"",
        "'",
        "//",
        "/*",
        "*/",
        "#![enable(",
        "r#\"",
        "\\u{",
        "Some(",
        "None",
    ];
    let mut words: Vec<String> = signs.map(str::to_owned).into();
    for text in texts {
        words.extend(text.split(|c: char| !c.is_alphanumeric() && c != '_').map(str::to_owned));
    }
    words.sort();
    words.dedup();
    words
}

fn every(entries: Vec<Entry>) -> Vec<String> {
    entries.into_iter().map(|entry| entry.defaults).collect()
}

/// Draws problems as people and as programs read them; what they say is the outcome.
fn drawn(problems: &Problems) -> String {
    let text = problems.render(Look::Plain);
    let json = problems.to_json();
    let list = json.as_array().expect("a list of problems");
    assert!(!list.is_empty() && !text.is_empty(), "there is a reason");
    list.iter().map(|problem| problem["message"].as_str().expect("a message")).collect::<Vec<_>>().join("; ")
}

fn text(input: &[u8]) -> String {
    String::from_utf8_lossy(input).into_owned()
}

/// Pipeline files: parsed, decoded, checked, and planned as a graph.
pub fn pipeline() -> Target {
    let mut texts = texts(false);
    let words = dictionary(&[&texts[..], &every(mtorec::stage::entries()), &every(Balancer::entries())].concat());
    texts.extend(
        every(mtorec::stage::entries())
            .iter()
            .map(|stage| format!("Pipeline(name: \"a\", stages: {{\"a\": {stage}}})")),
    );
    let run = Box::new(|input: &[u8]| match parse(&text(input), "fuzz.ron", &[]) {
        Err(problems) => drawn(&problems),
        Ok(loaded) => match Graph::of_pipeline(&loaded.pipeline) {
            Ok(graph) => format!("{} stages", graph.nodes().len()),
            Err(error) => error.to_string(),
        },
    });
    let seeds = texts.into_iter().map(String::into_bytes).collect();
    Target { name: "pipeline", sound: "stages", longest: 8192, seeds, dictionary: words, run }
}

/// Sweeps of a sound pipeline.
pub fn sweep() -> Target {
    let mut texts = texts(true);
    texts.push(r#"Sweep(pipeline: "pipelines/quickstart.ron", over: [Seed([1, 2])], baseline: [])"#.to_owned());
    let mut words = dictionary(&texts);
    // whole axes, which multiply
    let numbers = (2..42).map(|number| number.to_string()).collect::<Vec<_>>().join(", ");
    let fields = ["epochs", "patience", "batch", "seed", "optimizer.lr", "optimizer.weight_decay", "optimizer.eps"];
    let axes = fields.map(|field| format!("Set(\"train.{field}\", [{numbers}]), "));
    // often enough among so many other words
    words.extend(axes.iter().cycle().take(axes.len() * 8).cloned());
    let folder = folder();
    fs::create_dir(folder.path().join("pipelines")).expect("a folder");
    for path in pipelines() {
        fs::copy(&path, folder.path().join("pipelines").join(path.file_name().expect("a name"))).expect("a copy");
    }
    let path = folder.path().join("pipelines/fuzz.ron");
    let run = Box::new(move |input: &[u8]| {
        fs::write(&path, input).expect("a file");
        match load_sweep(&path, |_| folder.path().to_path_buf()) {
            Err(problems) => drawn(&problems),
            // larger ones are another outcome, so that they are kept and grow
            Ok(loaded) => format!("{}cells", "more ".repeat(loaded.grid.cells.len().ilog2() as usize)),
        }
    });
    Target {
        name: "sweep",
        sound: "cells",
        longest: 4096,
        seeds: texts.into_iter().map(String::into_bytes).collect(),
        dictionary: words,
        run,
    }
}

/// Lines of `--set` on a sound pipeline.
pub fn set() -> Target {
    let texts = texts(false);
    let base = texts.iter().find(|text| text.contains("\"quickstart\"")).expect("the quick start").clone();
    let seeds = [
        "train.seed=2",
        "train.optimizer.lr=1e-2",
        "model.arch=Mmoe(experts: 3)",
        "model.sizes=Small",
        "train.balancer=Famo()",
        "model.sizes=Custom(embed: 8, bottom: (8, 4), tower: (4, 2))",
        "preprocess.fill=Some(Mean)",
        "preprocess.by=Group",
        "log.dataset=Simulated(rows: 200)\ntrain.epochs=3",
        "evaluate.metrics=[Auc, Gauc]",
        "evaluate.metrics.0=LogLoss",
        "preprocess.valid=FromTrain(0.1)",
        "model.init=Checkpoint(\"x\")",
        "train.optimizer=Adam(betas: (0.5, 0.9))",
    ];
    let words = dictionary(texts.iter().chain(&every(mtorec::stage::entries())).chain(&seeds.map(str::to_owned)));
    let run = Box::new(move |input: &[u8]| {
        let sets: Vec<String> = text(input).lines().take(4).map(str::to_owned).collect();
        parse(&base, "fuzz.ron", &sets).map_or_else(|problems| drawn(&problems), |_| "sound".to_owned())
    });
    Target {
        name: "set",
        sound: "sound",
        longest: 2048,
        seeds: seeds.map(|seed| seed.as_bytes().to_vec()).into(),
        dictionary: words,
        run,
    }
}

/// A balancer in the first line, and below it what it is asked.
pub fn balance() -> Target {
    let requests = [
        r#"{"gradients": [[2, 0], [-1, 2]], "losses": [0.5, 0.125]}"#,
        r#"{"losses": [0.5, 0.125], "steps": [{}, {"losses": [0.4, 0.12]}]}"#,
        r#"{"gradients": [[1, 10], [2, -4]], "losses": [1, 1], "parameters": [1, 1], "steps": [{}, {"gradients": [[1, 10], [-1, -4]]}]}"#,
        r#"{"gram": [[4, -2], [-2, 5]], "losses_after": [0.1, 1e-300], "epoch": 3}"#,
        r#"{"batches": [[[1, 2], [3, 4]], [[0, 0], [1e300, -1e300]]], "steps": [{}, {}, {}]}"#,
        r#"{"gradients": [[1, 2], [3, 4], [-5, 6], [0, 0]], "losses": [1, 0, 2, 3], "steps": [{"epoch": 1}, {"epoch": 2}]}"#,
    ];
    let balancers = every(Balancer::entries());
    let mut seeds = Vec::new();
    for balancer in &balancers {
        let balancer = balancer.replace('\n', " ");
        seeds.extend(requests.iter().map(|request| format!("{balancer}\n{request}").into_bytes()));
    }
    let words = dictionary(balancers.iter().chain(&requests.map(str::to_owned)));
    let run = Box::new(|input: &[u8]| {
        let text = text(input);
        let (balancer, request) = text.split_once('\n').unwrap_or((&text, "{}"));
        let balancer: Balancer = match parse_argument(balancer) {
            Ok(balancer) => balancer,
            Err(problems) => return drawn(&problems),
        };
        let request: Request = match serde_json::from_str(request) {
            Ok(request) => request,
            Err(error) => return error.to_string(),
        };
        let rates = Rates { lr: 1e-3, betas: (0.9, 0.999), eps: 1e-8, weight_decay: 0.0 };
        match ask(&balancer, &request, rates, 1) {
            Ok(answers) => {
                let json = serde_json::to_string(&answers).expect("JSON");
                format!("{} {}", answers.len(), if json.contains("null") { "with null" } else { "" })
            }
            Err(error) => error.to_string(),
        }
    });
    Target { name: "balance", sound: "1 ", longest: 1024, seeds, dictionary: words, run }
}
