//! What the README says is so: its tables come from `list`, its programs are those of `examples/`, its pipelines are checked
//! as `mtorec check` checks them, and the files it names exist. `INSTA_UPDATE=always` writes tables and programs anew.

use std::fs;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::project::Project;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A page before, in and after the part between two comments that name it.
fn parts<'a>(page: &'a str, name: &str) -> [&'a str; 3] {
    let (from, to) = (format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->"));
    let start = page.find(&from).unwrap_or_else(|| panic!("a part `{name}`")) + from.len();
    let end = start + page[start..].find(&to).unwrap_or_else(|| panic!("an end of `{name}`"));
    [&page[..start], &page[start..end], &page[end..]]
}

/// Holds a part of a page to what it should be, or writes it.
fn holds(path: &str, name: &str, expected: &str) {
    // those who write do so one after the other
    static PAGES: Mutex<()> = Mutex::new(());
    let _lock = PAGES.lock().unwrap_or_else(PoisonError::into_inner);
    let page = read(path);
    let [before, found, after] = parts(&page, name);
    if found == expected {
        return;
    }
    if std::env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        fs::write(root().join(path), [before, expected, after].concat()).unwrap();
    } else {
        panic!("`{name}` of {path} is not what it should be; INSTA_UPDATE=always writes\n{expected}");
    }
}

fn listed(what: &str) -> Vec<Value> {
    let Value::Array(entries) = Project::new().call(&["list", what, "--json"]).expect(0).json() else {
        panic!("a list")
    };
    entries
}

fn text<'a>(entry: &'a Value, name: &str) -> &'a str {
    entry[name].as_str().unwrap()
}

/// A whole number with its thousands apart.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&[u8]> = digits.as_bytes().rchunks(3).rev().collect();
    groups.iter().map(|group| str::from_utf8(group).unwrap()).collect::<Vec<_>>().join(",")
}

#[test]
fn models_are_those_that_list_knows() {
    let mut table = "| | what it is | source | tasks | parameters at `Paper` |\n|---|---|---|---|---|\n".to_owned();
    for model in listed("models") {
        let parameters = model["parameters"].as_u64().map_or_else(String::new, thousands);
        let [name, summary, source, tasks] = ["name", "summary", "source", "tasks"].map(|field| text(&model, field));
        table += &format!("| `{name}` | {summary} | {source} | {tasks} | {parameters} |\n");
    }
    holds("README.md", "models", &table);
}

#[test]
fn balancers_are_those_that_list_knows() {
    let balancers = listed("balancers");
    let needs = |entry: &Value| {
        let needs = entry["needs"].as_array().unwrap();
        needs.iter().map(|need| need.as_str().unwrap().replace('_', " ")).collect::<Vec<_>>().join(", ")
    };
    let mut classes: Vec<(&str, Vec<String>)> = Vec::new();
    for balancer in &balancers {
        let name = format!("`{}`", text(balancer, "name"));
        match classes.iter_mut().find(|(class, _)| *class == text(balancer, "class")) {
            Some((_, names)) => names.push(name),
            None => classes.push((text(balancer, "class"), vec![name])),
        }
    }
    let mut table = "| by | balancers |\n|---|---|\n".to_owned();
    classes.iter().for_each(|(class, names)| table += &format!("| {class} | {} |\n", names.join(" ")));
    holds("README.md", "balancers", &table);

    let mut table =
        "| | by | needs of a step | what it is | source | with its defaults |\n|---|---|---|---|---|---|\n".to_owned();
    for balancer in &balancers {
        let [name, class, summary, source, defaults] =
            ["name", "class", "summary", "source", "defaults"].map(|field| text(balancer, field));
        let needs = needs(balancer);
        table += &format!("| `{name}` | {class} | {needs} | {summary} | {source} | `{defaults}` |\n");
    }
    holds("docs/balancers.md", "balancers", &table);
}

#[test]
fn programs_are_those_of_the_examples() {
    for example in ["train", "own_balancer"] {
        let code = read(&format!("examples/{example}.rs"));
        let lines = code.lines().filter(|line| !line.starts_with("//!")).count();
        assert!(lines <= 40, "{example} has {lines} lines");
    }
    let code = read("examples/own_balancer.rs");
    let (_, balancer) = code.split_once("/// Minimises").unwrap();
    let (balancer, _) = balancer.split_once("\nfn main").unwrap();
    holds("README.md", "own balancer", &format!("```rust\n/// Minimises{balancer}```\n"));
}

#[test]
fn pipelines_in_the_readme_are_sound() {
    let project = Project::new();
    let page = read("README.md");
    let blocks = page.split("```ron\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
    let whole: Vec<&str> = blocks.filter(|block| block.contains("Pipeline(\n")).collect();
    assert!(whole.len() >= 2, "the README shows pipelines");
    for (i, pipeline) in whole.into_iter().enumerate() {
        let name = format!("pipelines/readme_{i}.ron");
        fs::write(project.path(&name), pipeline).unwrap();
        project.call(&["check", &name]).expect(0);
    }
}

#[test]
fn files_that_the_readme_names_exist() {
    let page = read("README.md") + &read("docs/balancers.md");
    let beginnings = ["src/", "tests/", "pipelines/", "examples/", "benches/", "docs/", "golden/", "data/"];
    let words = page.split(|c: char| c.is_whitespace() || "`()[],;".contains(c));
    let names = words.filter(|word| beginnings.iter().any(|beginning| word.starts_with(beginning)));
    // what people make themselves, and globs
    let made = ["pipelines/census.ron", "data/census/", "data/aliexpress/"];
    let mut looked = 0;
    for name in
        names.filter(|name| !name.contains(['*', '<', '#', '{']) && !made.iter().any(|made| name.starts_with(made)))
    {
        let name = name.trim_end_matches(['.', ':']);
        assert!(root().join(name).exists(), "the README names `{name}`, which is not there");
        looked += 1;
    }
    assert!(looked > 20, "{looked} files");
}
