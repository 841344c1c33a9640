//! One form for all ways of writing the same: the typed value written out again with every default, as a tree whose
//! positions are those of the text it came from. `--set`, the checks and the keys of stages work on it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::parse::parse_value;
use super::pipeline::Stage;
use super::syntax::{Body, Kind, Node, Span};
use crate::registry::to_ron;

/// The canonical tree of a value, placed like `original`, the tree that it was decoded from.
pub fn canonical<T: Serialize>(value: &T, original: &Node) -> Node {
    let mut tree = bare(value);
    tree.adopt(Some(original), original.head);
    tree
}

/// The canonical tree of a value that stands nowhere.
fn bare<T: Serialize>(value: &T) -> Node {
    let nowhere = Span { source: 0, start: 0, end: 0 };
    let broken = Node { span: nowhere, head: nowhere, kind: Kind::Broken };
    let (tree, problems) = parse_value(&to_ron(value), 0, 0);
    debug_assert!(problems.is_empty(), "canonical RON is RON: {problems:?}");
    tree.unwrap_or(broken)
}

impl Stage {
    /// What decides this stage's result beside its inputs: every parameter with its canonical value, defaults included,
    /// references to other stages and `resources` left out. Comments, layout, the order of fields and ways of writing don't show.
    ///
    /// Names of structs' fields and of variants make the path, as in `optimizer.Adam.lr` → `0.001`; lists, tuples and
    /// variants without named fields are values: `metrics` → `[Auc,LogLoss]`, `valid` → `FromTest(0.5)`.
    pub fn parameters(&self) -> BTreeMap<String, String> {
        let references = self.references();
        let mut parameters = BTreeMap::new();
        // a reference within a list cannot be left out, but its name can
        let nameless = self.with_references(|_| String::new());
        if let Kind::Struct { body: Body::Fields(fields), .. } = bare(&nameless).kind {
            for (name, value) in fields {
                let decides =
                    name.text != "resources" && !references.iter().any(|reference| reference.field == name.text);
                if decides {
                    flatten(name.text, &value, &mut parameters);
                }
            }
        }
        parameters
    }
}

fn flatten(path: String, node: &Node, into: &mut BTreeMap<String, String>) {
    match &node.kind {
        Kind::Struct { name: Some(some), body: Body::Items(items) } if some.text == "Some" && items.len() == 1 => {
            flatten(path, &items[0], into);
        }
        Kind::Struct { name, body: Body::Fields(fields) } if !fields.is_empty() => {
            let path = name.as_ref().map_or(path.clone(), |name| format!("{path}.{}", name.text));
            for (field, value) in fields {
                flatten(format!("{path}.{}", field.text), value, into);
            }
        }
        Kind::Struct { name: Some(name), body: Body::Items(items) } if items.is_empty() => {
            into.insert(path, name.text.clone());
        }
        _ => {
            into.insert(path, node.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use insta::assert_snapshot;

    use crate::spec::tests::{SHORT, read, read_with, short_with};

    fn parameters(text: &str) -> BTreeMap<String, BTreeMap<String, String>> {
        read(text).stages.iter().map(|(name, stage)| (name.clone(), stage.parameters())).collect()
    }

    #[test]
    fn parameters_are_flat_canonical_and_complete() {
        let all = parameters(&short_with("Mmoe()", "Mmoe(), sizes: Custom(embed: 8, bottom: (16, 8), tower: (8, 4))"));
        let of = |stage: &str| {
            all[stage].iter().map(|(path, value)| format!("{path} = {value}")).collect::<Vec<_>>().join("\n")
        };
        assert_snapshot!(of("d"), @"
        dataset.AliExpress.country = ES
        fetch = []
        path = None
        when_missing = Fail
        ");
        assert_snapshot!(of("p"), @"
        by = Row
        fill = None
        max_bad_rows = 0
        seed = 0
        test = AsGiven
        valid = FromTest(0.5)
        ");
        assert_snapshot!(of("m"), @"
        arch.Mmoe.dropout = 0.2
        arch.Mmoe.experts = 8
        init = Random
        seed = 1
        sizes.Custom.bottom = (16,8)
        sizes.Custom.embed = 8
        sizes.Custom.tower = (8,4)
        ");
        assert_snapshot!(of("e"), @"
        metrics = [Auc,LogLoss]
        on = Test
        ");
        assert_eq!(all["t"]["optimizer.Adam.lr"], "0.001");
        assert_eq!(all["t"]["optimizer.Adam.betas"], "(0.9,0.999)");
        assert!(!all["t"].contains_key("model") && !all["t"].contains_key("data"));
    }

    #[test]
    fn the_way_of_writing_does_not_change_parameters() {
        let rewritten = r#"Pipeline( /* reordered */ stages: {
            "e": Evaluate(data: "p", metrics: [Auc, LogLoss], model: "t", on: Test,),
            "t": Train(data: "p", batch: 0x800, patience: 3, model: "m", optimizer: Adam(lr: 1e-3, eps: 0.00000001), seed: 1, epochs: 5_0),
            "m": BuildModel(data: "p", seed: 1, arch: Mmoe((dropout: 2e-1, experts: 8)), init: Random, sizes: Paper), // defaults spelt out
            "p": Preprocess(from: "d", seed: 0, test: AsGiven, valid: FromTest(0.50), fill: None),
            "d": Download(path: None, when_missing: Fail, dataset: AliExpress(country: ES)),
        }, name: "other", golden: None)"#;
        assert_eq!(parameters(rewritten), parameters(SHORT));
        // Nor does the name of what a stage reads: the content of that counts.
        assert_eq!(parameters(&SHORT.replace("\"m\"", "\"renamed\""))["t"], parameters(SHORT)["t"]);
    }

    #[test]
    fn any_change_of_meaning_changes_parameters() {
        let base = parameters(SHORT);
        let changes = [
            ("d", "dataset=AliExpress(country: US)"),
            ("d", "dataset=CensusIncome()"),
            ("d", "dataset=Simulated()"),
            ("d", "dataset=Csv(train: \"a\", test: \"b\", labels: [\"y\"])"),
            ("d", "dataset=Csv(train: \"a\", test: \"b\", labels: [\"y\"], categorical: [\"c\"])"),
            ("d", "dataset=Csv(train: \"a\", test: \"b\", labels: [\"y\"], numerical: [\"c\"])"),
            (
                "d",
                "dataset=Csv(train: \"a\", test: \"b\", labels: [\"y\"], numerical: [\"c\"], transforms: {\"c\": Log1p})",
            ),
            (
                "d",
                "dataset=Csv(train: \"a\", test: \"b\", labels: [\"y\"], numerical: [\"c\"], transforms: {\"c\": Standardise})",
            ),
            ("d", "path=\"x\""),
            ("d", "path=\"None\""),
            ("d", "fetch=[Fetch(url: \"http://a/train.csv\")]"),
            ("d", "fetch=[Fetch(url: \"http://b/train.csv\")]"),
            ("d", "fetch=[Fetch(url: \"http://b/x\", file: \"train.csv\")]"),
            ("d", "when_missing=Simulate(rows: 500)"),
            ("d", "when_missing=Simulate(rows: 500, seed: 1)"),
            ("p", "valid=FromTrain(0.5)"),
            ("p", "valid=FromTest(0.25)"),
            ("p", "test=Random(0.5)"),
            ("p", "by=Group"),
            ("p", "max_bad_rows=1"),
            ("p", "seed=1"),
            ("p", "fill=0"),
            ("p", "fill=0.5"),
            ("p", "fill=Mean"),
            ("m", "arch=SharedBottom()"),
            ("m", "arch.experts=4"),
            ("m", "arch.dropout=0.25"),
            ("m", "sizes=Small"),
            ("m", "sizes=Custom(embed: 128, bottom: (512, 256), tower: (128, 64))"),
            ("m", "sizes=Custom(embed: 128, bottom: (256, 512), tower: (128, 64))"),
            ("m", "seed=2"),
            ("m", "init=Checkpoint(\"a\")"),
            ("m", "init=Checkpoint(\"Random\")"),
            ("t", "balancer=Famo()"),
            ("t", "balancer=Famo(gamma: 0.5)"),
            ("t", "balancer=Uw()"),
            ("t", "optimizer.lr=0.0010000000000000002"),
            ("t", "optimizer.betas.0=0.8"),
            ("t", "optimizer.betas.1=0.8"),
            ("t", "optimizer.eps=1e-7"),
            ("t", "optimizer.weight_decay=0"),
            ("t", "epochs=51"),
            ("t", "batch=1024"),
            ("t", "patience=4"),
            ("t", "seed=18446744073709551615"),
            ("e", "metrics=[Auc]"),
            ("e", "metrics=[LogLoss, Auc]"),
            ("e", "on=Valid"),
        ];
        let mut seen: Vec<_> = base.iter().map(|(stage, parameters)| (stage.as_str(), parameters.clone())).collect();
        for (stage, change) in changes {
            let changed = read_with(SHORT, &[&format!("{stage}.{change}")]);
            for (name, other) in &changed.stages {
                assert_eq!(name != stage, other.parameters() == base[name], "{stage}.{change} and {name}");
            }
            let parameters = changed.stages[stage].parameters();
            assert!(!seen.contains(&(stage, parameters.clone())), "{stage}.{change} is like another");
            seen.push((stage, parameters));
        }
    }
}
