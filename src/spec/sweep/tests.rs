use std::fs;

use super::*;
use crate::spec::{Look, Stage};

const PIPELINE: &str = r#"Pipeline(
    name: "base",
    stages: {
        "evaluate": Evaluate(model: "train", data: "preprocess"),
        "log": Download(dataset: Simulated(rows: 2000)),
        "preprocess": Preprocess(from: "log"),
        "model": BuildModel(data: "preprocess", arch: Mmoe(experts: 2), sizes: Tiny),
        "train": Train(model: "model", data: "preprocess"),
    },
)"#;

fn loaded(sweep: &str) -> Result<LoadedSweep, Problems> {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("pipelines")).unwrap();
    fs::write(folder.path().join("pipelines/base.ron"), PIPELINE).unwrap();
    let path = folder.path().join("pipelines/grid.ron");
    fs::write(&path, sweep).unwrap();
    load_sweep(&path, |_| folder.path().to_owned())
}

fn wrong(sweep: &str) -> String {
    let text = loaded(sweep).unwrap_err().render(Look::Plain);
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

#[test]
fn cells_share_what_they_have_in_common() {
    let LoadedSweep { grid, sweep } = loaded(
        r#"Sweep(pipeline: "pipelines/base.ron", over: [
            Country([ES, US]), Balancer([Ls(), Famo(gamma: 0.01)]), Seed([1, 2]), Set("train.epochs", [3]),
        ], baseline: [Balancer(Ls())])"#,
    )
    .unwrap();
    assert_eq!(grid.cells.len(), 8);
    assert_eq!(grid.cells[5].values, [1, 0, 1, 0]);
    let names: Vec<&String> = grid.pipeline.stages.keys().collect();
    // a log and its encoding for each country, a model for each country and seed, the rest for each cell
    assert_eq!(names.len(), 2 + 2 + 4 + 8 + 8, "{names:#?}");
    let train = &grid.cells[3].stages["train"];
    assert_eq!(train, "train [ES, Famo(gamma: 0.01), seed 2]");
    assert_eq!(grid.cells[3].stages["log"], "log [ES]");
    let Stage::Train(stage) = &grid.pipeline.stages[train] else { panic!("a training") };
    assert_eq!((stage.model.as_str(), stage.data.as_str()), ("model [ES, seed 2]", "preprocess [ES]"));
    assert_eq!((stage.seed, stage.epochs, stage.balancer.name()), (2, 3, "Famo"));
    assert_eq!(sweep.over[1].position(&sweep.baseline[0]), Some(0));
}

#[test]
fn combinations_can_be_ruled_out() {
    let LoadedSweep { grid, .. } = loaded(
        r#"Sweep(
            pipeline: "pipelines/base.ron",
            over: [Arch([SingleTask(), Mmoe()]), Balancer([Ls(), Famo(), Uw()]), Seed([1, 2])],
            only: [Only(value: Arch(SingleTask()), with: [Balancer(Ls()), Balancer(Uw())])],
        )"#,
    )
    .unwrap();
    let pairs: Vec<&[usize]> =
        grid.cells.iter().filter(|cell| cell.values[2] == 0).map(|cell| &cell.values[..2]).collect();
    assert_eq!(pairs, [[0, 0], [0, 2], [1, 0], [1, 1], [1, 2]]);
}

#[test]
fn a_sweep_is_checked_before_anything_runs() {
    for (sweep, problem) in [
        (PIPELINE, "this is a pipeline, not a sweep"),
        (r#"Sweep(pipeline: "pipelines/grid.ron", over: [Seed([1])])"#, "this file is a sweep itself"),
        (r#"Sweep(pipeline: "pipelines/base.ron", over: [])"#, "`over` is empty"),
        (r#"Sweep(pipeline: "pipelines/base.ron", over: [Seed([])])"#, "the axis `seed` has no values"),
        (r#"Sweep(pipeline: "pipelines/base.ron", over: [Seed([1, 1])])"#, "`1` is given twice"),
        (r#"Sweep(pipeline: "pipelines/base.ron", over: [Seed([1]), Seed([2])])"#, "the axis `seed` is given twice"),
        (
            r#"Sweep(pipeline: "pipelines/base.ron", over: [Seed([1])], baseline: [Balancer(Ls())])"#,
            "no axis of `over` has this value of `baseline`",
        ),
        (r#"Sweep(pipeline: "pipelines/base.ron", over: [Seed([1])], test: PairedT(2))"#, "between 0 and 1, not 2"),
        (r#"Sweep(pipeline: "pipelines/base.ron", over: [Sed([1])])"#, "did you mean `Seed`?"),
        (r#"Sweep(pipeline: "pipelines/bse.ron", over: [Seed([1])])"#, "did you mean"),
        (r#"Sweep(pipeline: "pipelines/base.ron", over: [Set("train.epocs", [1])])"#, "no field `epocs` in `train`"),
        (
            r#"Sweep(pipeline: "pipelines/base.ron", over: [Arch([Mmoe(experts: 0)])])"#,
            "`experts` should be at least 1",
        ),
    ] {
        let found = wrong(sweep);
        assert!(found.contains(problem), "{sweep}: {found}");
    }
}

#[test]
fn a_grid_without_end_is_refused_before_it_is_made() {
    let numbers = |count: usize| (2..2 + count).map(|number| number.to_string()).collect::<Vec<_>>().join(", ");
    let sweep = |counts: [usize; 3]| {
        let [seeds, epochs, batches] = counts.map(numbers);
        let axes = format!(r#"Seed([{seeds}]), Set("train.epochs", [{epochs}]), Set("train.batch", [{batches}])"#);
        format!(r#"Sweep(pipeline: "pipelines/base.ron", over: [{axes}])"#)
    };
    let found = wrong(&sweep([10_001, 1, 1]));
    assert!(found.contains("the grid has 10001 × 1 × 1 cells, more than 10000"), "{found}");
    // as many as a machine word cannot count: their product is 2^66
    let axes = r#"Set("train.FIELD", [2, 3, 4, 5, 6, 7, 8, 9]), "#;
    let fields = ["epochs", "patience", "batch", "seed", "optimizer.lr", "optimizer.eps", "optimizer.weight_decay"];
    let more = (0..15).map(|stage| format!("train{stage}.epochs"));
    let all = fields.map(|field| format!("train.{field}")).into_iter().chain(more);
    let axes: String = all.map(|field| axes.replace("train.FIELD", &field)).collect();
    let found = wrong(&format!(r#"Sweep(pipeline: "pipelines/base.ron", over: [{axes}])"#));
    assert!(found.contains("8 × 8 × 8 × 8 cells, more than 10000"), "{found}");
    assert_eq!(loaded(&sweep([5, 2, 3])).unwrap().grid.cells.len(), 30);
}
