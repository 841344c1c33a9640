//! What people read, word for word: `golden/snapshots/` holds it. After a change that is meant,
//! `INSTA_UPDATE=always cargo test --release --test cli snapshots` writes it anew.

use std::fs;

use insta::{Settings, assert_snapshot};

use crate::project::{Called, Project};

/// Digests, times and sizes differ from run to run, and from machine to machine.
fn settings() -> Settings {
    let mut settings = Settings::clone_current();
    settings.set_snapshot_path("../../golden/snapshots");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.add_filter(r"[0-9a-f]{8}…", "[digest]");
    settings.add_filter(r"/[^ `]*/(golden|pipelines|data)/", "[project]/$1/");
    settings.add_filter(r"\b[0-9]+\.[0-9] s\b", "[time]");
    settings
}

/// Numbers that the processor's rounding may move.
fn with_numbers(mut settings: Settings) -> Settings {
    settings.add_filter(r"[-+]?\b[0-9]\.[0-9]{4,}\b", "[number]");
    settings.add_filter(r"[-+][0-9]+\.[0-9]{2}\b", "[gain]");
    settings.add_filter(r" +(\[number\]|\[gain\])", " $1");
    settings.add_filter(r"(\[number\])[*‡]+", "$1");
    settings.add_filter(r"\[number\] ±\[number\]", "[number]");
    settings.add_filter(r"(\[gain\]) +", "$1 ");
    settings.add_filter(r"best epoch [0-9]+", "best epoch [n]");
    settings.add_filter(r"(\[number\]) +(click|conversion|mean)", "$1 $2");
    settings
}

/// Both streams, as a terminal shows them.
fn text(called: &Called) -> String {
    format!(
        "exit code {}\n--- standard output\n{}--- standard error\n{}",
        called.code.unwrap_or(-1),
        called.out,
        called.err
    )
}

#[test]
fn plans() {
    let project = Project::new();
    let snap = |name: &str, arguments: &[&str]| {
        let called = project.call(&[&["plan", "pipelines/small.ron"], arguments].concat());
        settings().bind(|| assert_snapshot!(name, text(&called)));
    };
    snap("plan_before_anything_ran", &[]);
    project.run(&[]);
    snap("plan_up_to_date", &[]);
    snap("plan_with_changes", &["--set", "train.optimizer.lr=1e-2", "--set", "preprocess.valid=FromTrain(0.1)"]);
    snap("plan_forced", &["--force", "model", "--until", "train"]);
}

#[test]
fn graphs() {
    let project = Project::new();
    project.run(&["--until", "model"]);
    for format in ["text", "dot", "mermaid", "svg"] {
        let called = project.call(&["graph", "pipelines/small.ron", "--format", format]);
        settings().bind(|| assert_snapshot!(format!("graph_{format}"), text(&called)));
    }
}

#[test]
fn errors() {
    let project = Project::new();
    fs::write(
        project.path("pipelines/wrong.ron"),
        r#"Pipeline(
    name: "wrong",
    stages: {
        "download": Download(dataset: AliExpres(country: ES)),
        "preprocess": Preprocess(from: "downlaod", valid: FromTest(1.5)),
        "model": BuildModel(data: "preprocess", arch: Mmoe(expert: 8)),
        "train": Train(model: "evaluate", data: "preprocess", balancer: Fammo()),
        "evaluate": Evaluate(model: "train", data: "preprocess", metrics: [Auc, Auc]),
    },
)
"#,
    )
    .unwrap();
    fs::write(project.path("pipelines/broken.ron"), "Pipeline(\n    name: \"broken\",\n    stages: {\n").unwrap();
    fs::write(
        project.path("pipelines/missing.ron"),
        r#"Pipeline(name: "missing", stages: {"log": Download(dataset: AliExpress(country: ES))})"#,
    )
    .unwrap();
    for (name, arguments) in [
        ("error_wrong_file", &["check", "pipelines/wrong.ron"][..]),
        ("error_broken_file", &["check", "pipelines/broken.ron"]),
        ("error_no_file", &["run", "pipelines/smal.ron"]),
        ("error_set", &["run", "pipelines/small.ron", "--set", "train.optimiser.lr=1"]),
        ("error_missing_data", &["run", "pipelines/missing.ron"]),
        ("error_unknown_stage", &["plan", "pipelines/small.ron", "--force", "trian"]),
    ] {
        let called = project.call(arguments);
        settings().bind(|| assert_snapshot!(name, text(&called)));
    }
}

#[test]
fn tables() {
    let project = Project::new();
    let run = project.call(&["run", "pipelines/small.ron"]);
    with_numbers(settings()).bind(|| assert_snapshot!("run", run.out));
    let again = project.call(&["run", "pipelines/small.ron"]);
    with_numbers(settings()).bind(|| assert_snapshot!("run_again", text(&again)));
    project.call(&["golden", "bless", "pipelines/small.ron"]).expect(0);
    let held = project.call(&["golden", "check", "pipelines/small.ron"]);
    with_numbers(settings()).bind(|| assert_snapshot!("golden_holds", text(&held)));
    let golden = fs::read_to_string(project.path("golden/small.ron")).unwrap();
    let at = golden.find("Some(").unwrap() + "Some(".len();
    let end = at + golden[at..].find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap();
    fs::write(project.path("golden/small.ron"), format!("{}0.9999{}", &golden[..at], &golden[end..])).unwrap();
    let deviates = project.call(&["golden", "check", "pipelines/small.ron"]);
    with_numbers(settings()).bind(|| assert_snapshot!("golden_deviates", text(&deviates)));
    fs::write(
        project.path("pipelines/grid.ron"),
        r#"Sweep(
    pipeline: "pipelines/small.ron",
    over: [Arch([SingleTask(), Mmoe(experts: 2)]), Balancer([Ls(), Famo()]), Seed([1, 2])],
    only: [Only(value: Arch(SingleTask()), with: [Balancer(Ls())])],
    baseline: [Balancer(Ls())],
    single_task: [Arch(SingleTask()), Balancer(Ls())],
)
"#,
    )
    .unwrap();
    let sweep = project.call(&["sweep", "pipelines/grid.ron"]);
    with_numbers(settings()).bind(|| assert_snapshot!("sweep", sweep.out));
    let balance = project.path("case.json");
    fs::write(&balance, r#"{"gradients": [[2, 0], [-1, 2]], "losses": [0.5, 0.125]}"#).unwrap();
    let asked = project.call(&["balance", "CaGrad()", "--input", "case.json"]);
    settings().bind(|| assert_snapshot!("balance", text(&asked)));
}

#[test]
fn lists() {
    let project = Project::new();
    for what in ["metrics", "datasets", "stages"] {
        let listed = project.call(&["list", what]);
        settings().bind(|| assert_snapshot!(format!("list_{what}"), text(&listed)));
    }
}
