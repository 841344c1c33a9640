//! The `Toy` stage as its users meet it.

use std::fs;
use std::path::PathBuf;

use crate::project::{Called, Project};

const TOY: &str = r#"Pipeline(
    name: "tiny_toy",
    stages: {
        "toy": Toy(balancers: [Ls(), CaGrad(c: 0.5), Famo(lower_bounds: [-21.0, -21.0])], steps: 300),
    },
)
"#;

fn project() -> Project {
    let project = Project::new();
    fs::write(project.path("pipelines/toy.ron"), TOY).unwrap();
    project
}

/// The figure that a run names.
fn figure(project: &Project, run: &Called) -> PathBuf {
    let line = run.out.lines().find_map(|line| line.strip_prefix("figure: "));
    project.path(line.unwrap_or_else(|| panic!("{run:?}")))
}

/// Checks that elements are closed in order, and attributes quoted.
fn assert_well_formed(xml: &str) {
    let mut open = Vec::new();
    let mut rest = xml;
    while let Some(start) = rest.find('<') {
        assert!(!rest[..start].contains('>'), "a stray `>` in {:?}", &rest[..start]);
        let end = start + rest[start..].find('>').expect("a tag ends");
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        assert!(!tag.contains('<') && tag.matches('"').count().is_multiple_of(2), "{tag}");
        let name = |tag: &str| tag.split_whitespace().next().unwrap_or_default().to_owned();
        match (tag.strip_prefix('/'), tag.strip_suffix('/')) {
            (Some(closed), _) => assert_eq!(open.pop(), Some(name(closed))),
            (_, Some(_)) => {}
            _ => open.push(name(tag)),
        }
    }
    assert!(open.is_empty(), "{open:?} stay open");
}

#[test]
fn a_toy_prints_where_it_ended_and_draws_a_figure() {
    let project = project();
    let run = project.call(&["run", "pipelines/toy.ron"]).expect(0);
    let table: Vec<&str> = run.out.lines().skip_while(|line| !line.starts_with("toy: losses")).collect();
    assert_eq!(table[0], "toy: losses (l1, l2) after 300 steps, scale 1; L* is (-15.092, -15.092)");
    assert_eq!(table.len(), 2 + 3 * 5 + 1, "{run:?}");
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(words(table[2]), "Ls (-8.5, 7.5) 6.459 7.875 31.494");
    assert!(words(table[7]).starts_with("CaGrad(c: 0.5) (-8.5, 7.5) 6.459"), "{run:?}");

    let figure = figure(&project, &run);
    let svg = fs::read_to_string(&figure).unwrap();
    assert_well_formed(&svg);
    assert_eq!(svg.matches("class=\"front\" points=").count(), 3, "a front in each panel");
    assert_eq!(svg.matches("class=\"end s").count(), 3 * 5 + 1, "and in the legend");
    for self_contained in ["href", "@import", "url(http"] {
        assert!(!svg.contains(self_contained), "{self_contained}");
    }
    let points = fs::read_to_string(figure.with_file_name("trajectories.csv")).unwrap();
    assert!(points.starts_with("balancer,start,step,x1,x2,l1,l2\n\"Ls\",1,0,-8.5,7.5,"), "{points}");
    assert_eq!(points.lines().count(), 1 + 3 * 5 * 301);

    let metrics = project.call(&["metrics", "pipelines/toy.ron"]).expect(0);
    assert_eq!(metrics.out.lines().collect::<Vec<_>>(), table);
    let again = project.call(&["run", "pipelines/toy.ron"]).expect(0);
    assert!(again.out.starts_with("tiny_toy: every stage is up to date\n"), "{again:?}");
}

#[test]
fn the_json_holds_every_end() {
    let project = project();
    let json = project.call(&["run", "pipelines/toy.ron", "--json", "--set", "toy.steps=1000"]).expect(0).json();
    let toy = &json["toys"][0];
    assert_eq!(toy["stage"], "toy");
    assert_eq!(toy["ends"].as_array().unwrap().len(), 15);
    assert_eq!(toy["ends"][14]["balancer"], "Famo(lower_bounds: [-21.0, -21.0])");
    assert_eq!(toy["ends"][0]["after_1000_steps"], toy["ends"][0]["end"]);
    assert!(PathBuf::from(toy["figure"].as_str().unwrap()).is_file(), "{toy}");
    let metrics = project.call(&["metrics", "pipelines/toy.ron", "--json"]).expect(0).json();
    assert_eq!(metrics["toys"], json["toys"]);
    assert_eq!(metrics["metrics"], serde_json::json!([]));
}

#[test]
fn threads_make_no_difference_to_a_toy() {
    let content = |threads: &str| {
        let project = project();
        let mut command = project.command(&["run", "pipelines/toy.ron", "--json"]);
        let run = Called::from(command.env("RAYON_NUM_THREADS", threads).output().unwrap()).expect(0);
        run.json()["stages"][0]["content"].clone()
    };
    assert_eq!(content("1"), content("3"));
}

#[test]
fn balancers_without_a_meaning_there_are_refused() {
    let project = project();
    let good = project.call(&["check", "pipelines/toy.ron"]).expect(0);
    assert_eq!(good.out, "pipelines/toy.ron: ok, 1 stage\n");
    for (balancers, said) in [
        ("[Gls()]", "this `Gls` takes logarithms of the losses"),
        ("[Famo()]", "lower_bounds: [-21.0, -21.0]"),
        ("[]", "`balancers` is empty"),
    ] {
        let set = format!("toy.balancers={balancers}");
        let wrong = project.call(&["run", "pipelines/toy.ron", "--set", &set]).expect(2);
        assert!(wrong.err.contains(said), "{wrong:?}");
    }
}
