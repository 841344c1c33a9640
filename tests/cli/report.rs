//! `report`: one page that needs nothing else, and says what there is to say.

use std::fs;
use std::process::Command;

use crate::project::Project;

const SWEEP: &str = r#"Sweep(
    pipeline: "pipelines/small.ron",
    over: [Country([ES, US]), Balancer([Ls(), Famo()]), Seed([1, 2])],
    baseline: [Balancer(Ls())],
    single_task: [Balancer(Ls())],
)
"#;

/// The page must load nothing and run nothing.
fn check_self_contained(page: &str) {
    for outside in ["src=", "<script", "<link rel=\"stylesheet", "@import", "url(http", "href=\"http"] {
        assert!(!page.contains(outside), "the page holds {outside}");
    }
    for wrong in ["NaN", "inf\"", "{{", "{%"] {
        assert!(!page.contains(wrong), "the page holds {wrong}");
    }
    for element in ["section", "table", "svg", "details", "figure", "div", "ul", "pre"] {
        let count = |tag: String| page.matches(&tag).count();
        assert_eq!(count(format!("<{element}")), count(format!("</{element}>")), "<{element}>");
    }
}

pub(crate) fn page(project: &Project, arguments: &[&str]) -> String {
    let written = project.call(&[&["report"], arguments, &["-o", "page.html"]].concat()).expect(0);
    assert_eq!(written.out, "page.html\n");
    let page = fs::read_to_string(project.path("page.html")).unwrap();
    check_self_contained(&page);
    page
}

#[test]
fn a_pipeline_is_told_on_one_page() {
    let project = Project::new();
    let nothing = project.call(&["report", "pipelines/small.ron"]).expect(2);
    assert!(nothing.err.contains("has come to nothing yet") && nothing.err.contains("mtorec run"), "{nothing:?}");
    project.edit(
        "\"evaluate\": Evaluate(model: \"train\", data: \"preprocess\"),",
        r#""evaluate": Evaluate(model: "train", data: "preprocess"),
        "table": Compare(rows: [Row(name: "<b>5 > 4 & \"3\"</b>", runs: ["evaluate"])]),"#,
    );
    let run = project.run(&["--set", "train.epochs=3"]).json();
    let page_of_run = page(&project, &["pipelines/small.ron", "--set", "train.epochs=3"]);
    for text in [
        "6 of 6 stages are up to date",
        "Simulated data",
        "Validation AUC",
        "Training loss, mean of each epoch",
        "Task weights",
        "Reliability",
        "best attainable",
        "--set train.epochs=3",
        "Artifacts were made on:",
        "6 stages",
        "&#60;b&#62;5 &#62; 4 &#38;",
    ] {
        assert!(page_of_run.contains(text), "{text}");
    }
    assert!(!page_of_run.contains("<b>5"), "names are text");
    let auc = run["metrics"][0]["values"][0]["value"].as_f64().unwrap();
    assert!(page_of_run.contains(&format!("<td class=\"number\">{auc:.4}</td>")));
    let key = run["stages"][3]["key"].as_str().unwrap();
    assert!(page_of_run.contains(key), "{key}");

    project.call(&["golden", "bless", "pipelines/small.ron"]).expect(0);
    let blessed = page(&project, &["pipelines/small.ron"]);
    assert!(blessed.contains("All 6 metrics of golden/small.ron hold."), "{blessed}");
    project.run(&["--set", "train.seed=9"]);
    let moved = page(&project, &["pipelines/small.ron", "--set", "train.seed=9"]);
    assert!(moved.contains("of 6 metrics of golden/small.ron do not hold: evaluate Auc"), "{moved}");

    // the last run was of other settings, but the numbers on the page are the file's own
    let own = page(&project, &["pipelines/small.ron"]);
    assert!(own.contains("All 6 metrics of golden/small.ron hold.") && own.contains("6 of 6 stages"), "{own}");
    project.edit("seed: 1),\n        \"evaluate\"", "seed: 5),\n        \"evaluate\"");
    let stale = page(&project, &["pipelines/small.ron"]);
    let sentence = stale.lines().find(|line| line.contains("metrics of golden/small.ron")).unwrap();
    assert!(sentence.contains("do not hold") && sentence.ends_with("; out of date.</li>"), "{sentence}");
    project.edit("seed: 5)", "seed: 1)");

    // a seed that never ran: training would run again, and what is there is marked
    let stale = page(&project, &["pipelines/small.ron", "--set", "train.seed=5"]);
    assert!(stale.contains("3 of 6 stages are up to date") && stale.contains("out of date"), "{stale}");
    assert!(stale.contains("state run") && stale.contains("seed: 9 → 5"), "{stale}");

    let default = project.call(&["report", "pipelines/small.ron"]).expect(0);
    assert!(default.out == "small.html\n" && project.path("small.html").exists());
    let nowhere = project.call(&["report", "pipelines/small.ron", "-o", "small.html/page.html"]).expect(1);
    assert!(nowhere.err.contains("cannot write `small.html/page.html`"), "{nowhere:?}");
}

#[test]
fn a_sweep_is_told_on_one_page_whatever_is_done_of_it() {
    let project = Project::new();
    fs::write(project.path("pipelines/grid.ron"), SWEEP).unwrap();
    let nothing = project.call(&["report", "pipelines/grid.ron"]).expect(2);
    assert!(nothing.err.contains("mtorec sweep"), "{nothing:?}");
    let refused = project.call(&["report", "pipelines/grid.ron", "--set", "train.epochs=3"]).expect(2);
    assert!(refused.err.contains("a sweep takes no `--set`"), "{refused:?}");
    project.call(&["sweep", "pipelines/grid.ron"]).expect(0);
    let whole = page(&project, &["pipelines/grid.ron"]);
    for text in [
        "8 of 8 cells are measured",
        "<th class=\"group\" colspan=\"3\">ES</th>",
        "class=\"forest\"",
        "has the best mean Auc",
        "The tests are not corrected for their number",
        "Mean validation AUC on US",
        "Famo · ES, seed 1",
        "8 of 8 done",
        "grid.ron",
        "small.ron",
    ] {
        assert!(whole.contains(text), "{text}");
    }
    // one value more: what is there stays, what is missing shows
    let more = SWEEP.replace("Famo()", "Famo(), Uw()");
    fs::write(project.path("pipelines/grid.ron"), more).unwrap();
    let part = page(&project, &["pipelines/grid.ron"]);
    assert!(part.contains("8 of 12 cells are measured") && part.contains("8 of 12 done"), "{part}");
    assert!(part.contains("–"), "gaps are shown");
}

#[test]
fn the_toy_problem_s_figure_is_on_the_page() {
    let project = Project::new();
    fs::write(
        project.path("pipelines/toy.ron"),
        r#"Pipeline(name: "toy", stages: {"toy": Toy(balancers: [Ls()], steps: 200)})"#,
    )
    .unwrap();
    project.call(&["run", "pipelines/toy.ron"]).expect(0);
    let page = page(&project, &["pipelines/toy.ron"]);
    assert!(page.contains("class=\"toy\"") && page.contains("Pareto front"), "{page}");
}

#[test]
fn graphs_are_drawn() {
    let project = Project::new();
    let drawing = project.call(&["graph", "pipelines/small.ron", "--format", "svg"]).expect(0).out;
    assert!(drawing.starts_with("<svg") && drawing.ends_with("</svg>\n") && drawing.contains("will run"), "{drawing}");
    assert_eq!(drawing.matches("<rect").count(), 5);
    assert_eq!(drawing.matches("class=\"edge\"").count(), 6);
}

/// Loads both pages from their files in a real browser, where there is one.
#[test]
fn a_browser_has_nothing_to_complain_of() {
    let names = ["chromium", "chromium-browser", "google-chrome"];
    let works = |name: &&str| Command::new(name).arg("--version").output().is_ok_and(|output| output.status.success());
    let Some(browser) = names.into_iter().find(works) else {
        println!("skipped: there is no Chromium on this machine");
        return;
    };
    let project = Project::new();
    fs::write(project.path("pipelines/grid.ron"), SWEEP).unwrap();
    project.run(&[]);
    project.call(&["sweep", "pipelines/grid.ron"]).expect(0);
    for (file, stands) in [("small", "Reliability"), ("grid", "8 of 8 cells")] {
        project.call(&["report", &format!("pipelines/{file}.ron")]).expect(0);
        let profile = format!("--user-data-dir={}", project.path("browser").display());
        let address = format!("file://{}", project.path(&format!("{file}.html")).display());
        let seen = Command::new(browser)
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", &profile])
            .args(["--virtual-time-budget=2000", "--dump-dom", &address])
            .output()
            .unwrap();
        let (dom, said) = (String::from_utf8_lossy(&seen.stdout), String::from_utf8_lossy(&seen.stderr));
        assert!(dom.contains(stands) && dom.contains("</html>"), "{said}");
        let complaints: Vec<&str> = said.lines().filter(|line| line.contains(":CONSOLE")).collect();
        assert!(complaints.is_empty(), "{complaints:?}");
    }
}
