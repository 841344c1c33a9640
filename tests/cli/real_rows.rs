//! The pipelines on other people's rows, which are not part of the project: looked for in `$MTOREC_TEST_DATA`, else in
//! `../shared/data`; where they are not, these tests say so and pass.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use mtorec::run::GoldenMetrics;

use crate::project::Project;

/// A real file, if it is there.
fn real(name: &str) -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/data");
    let path = std::env::var_os("MTOREC_TEST_DATA").map_or_else(beside, PathBuf::from).join(name);
    if path.is_file() {
        return Some(path);
    }
    println!("skipped: no `{name}` in $MTOREC_TEST_DATA or beside the project");
    None
}

/// A project with one of the published pipelines.
fn with_pipeline(name: &str) -> Project {
    let project = Project::new();
    let published = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("pipelines").join(name);
    fs::copy(published, project.path("pipelines").join(name)).unwrap();
    project
}

#[test]
fn the_main_pipeline_takes_real_rows_without_the_simulated_mark() {
    let (Some(train), Some(test)) = (real("aliexpress_train_sample.csv"), real("aliexpress_test_sample.csv")) else {
        return;
    };
    let project = with_pipeline("es_mmoe_famo.ron");
    let folder = project.path("data/aliexpress/ES");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(train, folder.join("train.csv")).unwrap();
    fs::copy(test, folder.join("test.csv")).unwrap();
    let small = ["--json", "--set", "model.sizes=Small", "--set", "train.epochs=2", "--set", "train.batch=32"];
    let done = project.call(&[&["run", "pipelines/es_mmoe_famo.ron"], &small[..]].concat()).expect(0);
    assert!(!done.err.contains("simulated"), "{done:?}");
    let json = done.json();
    let evaluation = &json["metrics"][0];
    assert_eq!((evaluation["simulated"].as_bool(), evaluation["rows"].as_u64()), (Some(false), Some(10)), "{done:?}");

    // a file that vanishes: the pipeline says so and simulates; one of two files is an error
    fs::remove_file(folder.join("test.csv")).unwrap();
    let failed = project.call(&[&["run", "pipelines/es_mmoe_famo.ron"], &small[..]].concat());
    assert!(failed.code == Some(1) && failed.err.contains("test.csv"), "{failed:?}");
}

#[test]
fn census_reaches_what_a_plain_pytorch_mmoe_reaches() {
    let Some(project) = with_census("census_mmoe.ron") else { return };
    let done = project.call(&["run", "pipelines/census_mmoe.ron", "--json"]).expect(0);
    let json = done.json();
    let values = json["metrics"][0]["values"].as_array().unwrap();
    let auc = |task: &str| -> f64 {
        let value = values.iter().find(|value| value["metric"] == "Auc" && value["task"] == task).unwrap();
        value["value"].as_f64().unwrap()
    };
    assert!(auc("income_over_50k") >= 0.94, "{values:?}");
    assert!(auc("never_married") >= 0.99, "{values:?}");
}

/// The census pipelines take one file, the published test half.
fn with_census(pipeline: &str) -> Option<Project> {
    let census = real("census-income.test.gz")?;
    let project = with_pipeline(pipeline);
    let folder = project.path("data/census");
    fs::create_dir_all(&folder).unwrap();
    fs::copy(census, folder.join("census-income.test.gz")).unwrap();
    Some(project)
}

const MODELS_CENSUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/golden/models_census.ron");

/// What was blessed says that no architecture is left behind; that the blessed numbers still hold, the next test says.
#[test]
fn every_architecture_is_within_a_hundredth_of_the_best_on_census() {
    let golden: GoldenMetrics = ron::from_str(&fs::read_to_string(MODELS_CENSUS).unwrap()).unwrap();
    assert!(!golden.simulated);
    let mut by_task: HashMap<&str, Vec<(&str, f64)>> = HashMap::new();
    for (stage, values) in &golden.stages {
        for value in values.iter().filter(|value| value.metric == "Auc" && value.task != "mean") {
            by_task.entry(&value.task).or_default().push((stage, value.value.unwrap()));
        }
    }
    let blessed = golden.stages.len();
    assert_eq!(blessed, mtorec::model::Arch::entries().len() + 1, "ten architectures and what ESMM is compared with");
    for (task, aucs) in by_task {
        let best = aucs.iter().fold(0.0, |best: f64, (_, auc)| best.max(*auc));
        for (stage, auc) in &aucs {
            assert!(best - auc <= 0.01, "{stage}, {task}: {auc}, and the best is {best}");
        }
    }
}

#[test]
fn the_blessed_metrics_of_every_architecture_hold() {
    let Some(project) = with_census("models_census.ron") else { return };
    fs::create_dir(project.path("golden")).unwrap();
    fs::copy(MODELS_CENSUS, project.path("golden/models_census.ron")).unwrap();
    let held = project.call(&["golden", "check", "pipelines/models_census.ron"]).expect(0);
    assert!(held.out.contains("metrics hold"), "{held:?}");
}
