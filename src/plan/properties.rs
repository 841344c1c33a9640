//! Keys depend on meaning alone. Pipelines are drawn at random and written in many ways; keys are those of runs whose stages
//! make different bytes whenever their keys differ.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::RngSeed;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{Graph, Site, recipe};
use crate::balance::Balancer;
use crate::model::Arch;
use crate::spec::{Pipeline, parse};
use crate::stage::Device;
use crate::store::{Digest, FileDigests};

/// A text of the language before it is decided how it is written.
#[derive(Debug, Clone, PartialEq)]
enum Doc {
    Count(u64),
    Number(f64),
    Text(&'static str),
    /// A variant without fields, and whatever else is written in one way only.
    Word(String),
    /// The name of the stage of this number.
    Stage(usize),
    List(Vec<Doc>),
    Tuple(Vec<Doc>),
    /// A variant that holds one value.
    Holds(&'static str, Box<Doc>),
    Fields(&'static str, Vec<Field>),
    /// Several ways of writing one thing.
    Either(Vec<Doc>),
}

#[derive(Debug, Clone, PartialEq)]
struct Field {
    name: &'static str,
    value: Doc,
    /// The value is the default, so that the field may be left out.
    default: bool,
}

fn field(name: &'static str, value: Doc) -> Field {
    Field { name, value, default: false }
}

fn or(name: &'static str, value: Doc, default: Doc) -> Field {
    Field { name, default: value == default, value }
}

fn word(word: &str) -> Doc {
    Doc::Word(word.to_owned())
}

/// What a drawn stage says beside its references; the numbers choose among possibilities.
type Choices = (u8, u8, u64);

/// The stages of a pipeline by kind; indices choose what they read.
#[derive(Debug, Clone)]
struct Drawn {
    downloads: Vec<Choices>,
    preprocesses: Vec<(Index, Choices)>,
    models: Vec<(Index, Choices)>,
    trains: Vec<(Index, Index, Choices)>,
    evaluates: Vec<(Index, Index, Choices)>,
    toys: Vec<Choices>,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let choices = || (any::<u8>(), any::<u8>(), 0..6u64);
    let reading = move || (any::<Index>(), choices());
    let reading_two = move || (any::<Index>(), any::<Index>(), choices());
    use prop::collection::vec;
    let begins = (vec(choices(), 1..3), vec(reading(), 1..4), vec(reading(), 1..4));
    let ends = (vec(reading_two(), 0..5), vec(reading_two(), 0..5), vec(choices(), 0..2));
    (begins, ends).prop_map(|((downloads, preprocesses, models), (trains, evaluates, toys))| Drawn {
        downloads,
        preprocesses,
        models,
        trains,
        evaluates,
        toys,
    })
}

fn one_of(choice: u8, docs: Vec<Doc>) -> Doc {
    docs[usize::from(choice) % docs.len()].clone()
}

fn balancer(choice: u8) -> Doc {
    let weights = |a: f64, b: f64| Doc::List(vec![Doc::Number(a), Doc::Number(b)]);
    one_of(
        choice,
        vec![
            Doc::Fields("Ls", vec![]),
            Doc::Fields("Famo", vec![]),
            Doc::Fields("Ls", vec![field("task_weights", weights(0.25, 2.0))]),
            Doc::Fields("Dwa", vec![]),
            Doc::Fields("NashMtl", vec![field("max_norm", word("None"))]),
            Doc::Fields("PcGrad", vec![]),
        ],
    )
}

impl Drawn {
    /// The stages, those first that are read.
    fn stages(&self) -> Vec<Doc> {
        let mut stages = Vec::new();
        for &(country, fewer, seed) in &self.downloads {
            let country = or("country", one_of(country, ["ES", "US", "FR"].map(word).to_vec()), word("ES"));
            let rows = or("rows", Doc::Count([60_000, 2000][usize::from(fewer) % 2]), Doc::Count(60_000));
            let simulated = Doc::Fields("Simulated", vec![rows, country, or("seed", Doc::Count(seed), Doc::Count(7))]);
            stages.push(Doc::Fields("Download", vec![field("dataset", simulated)]));
        }
        let downloads = stages.len();
        for (from, (valid, fill, seed)) in &self.preprocesses {
            let share = |kind, share| Doc::Holds(kind, Box::new(Doc::Number(share)));
            let half = share("FromTest", 0.5);
            let valid = one_of(*valid, vec![half.clone(), share("FromTrain", 0.125), share("FromTest", 0.25)]);
            let number = || Doc::Number(0.5);
            let number = Doc::Either(vec![number(), Doc::Holds("Number", Box::new(number()))]);
            stages.push(Doc::Fields(
                "Preprocess",
                vec![
                    field("from", Doc::Stage(from.index(downloads))),
                    or("valid", valid, half),
                    or("fill", one_of(*fill, vec![word("None"), number, word("Mean")]), word("None")),
                    or("seed", Doc::Count(*seed), Doc::Count(0)),
                    or("max_bad_rows", Doc::Count(0), Doc::Count(0)),
                ],
            ));
        }
        let preprocesses = downloads..stages.len();
        let data = |at: &Index| Doc::Stage(preprocesses.start + at.index(preprocesses.len()));
        for (from, (arch, sizes, seed)) in &self.models {
            let experts = or("experts", Doc::Count(2 + seed % 2), Doc::Count(8));
            let mmoe = vec![experts, field("dropout", Doc::Number(0.125))];
            let archs =
                vec![Doc::Fields("Mmoe", mmoe), Doc::Fields("SharedBottom", vec![]), Doc::Fields("Ple", vec![])];
            let pair = |name, a, b| field(name, Doc::Tuple(vec![Doc::Count(a), Doc::Count(b)]));
            let custom = Doc::Fields(
                "Custom",
                vec![field("embed", Doc::Count(16)), pair("bottom", 32, 16), pair("tower", 16, 8)],
            );
            stages.push(Doc::Fields(
                "BuildModel",
                vec![
                    field("data", data(from)),
                    field("arch", one_of(*arch, archs)),
                    or("sizes", one_of(*sizes, vec![word("Paper"), word("Tiny"), custom]), word("Paper")),
                    or("seed", Doc::Count(*seed), Doc::Count(1)),
                    or("init", word("Random"), word("Random")),
                ],
            ));
        }
        let models = preprocesses.end;
        for (model, of, (balanced, lr, seed)) in &self.trains {
            let lr = or("lr", Doc::Number([0.001, 0.0125][usize::from(*lr) % 2]), Doc::Number(0.001));
            let adam = Doc::Fields("Adam", vec![lr, field("weight_decay", Doc::Number(0.000001))]);
            let model = models + model.index(stages.len() - models);
            stages.push(Doc::Fields(
                "Train",
                vec![
                    field("model", Doc::Stage(model)),
                    field("data", data(of)),
                    field("balancer", balancer(*balanced)),
                    field("optimizer", adam),
                    or("epochs", Doc::Count(50 - seed), Doc::Count(50)),
                    or("batch", Doc::Count(2048), Doc::Count(2048)),
                    or("seed", Doc::Count(*seed), Doc::Count(1)),
                ],
            ));
        }
        let trained = stages.len();
        for (model, of, (metrics, on, _)) in &self.evaluates {
            let list = |names: &[&str]| Doc::List(names.iter().map(|name| word(name)).collect());
            let both = list(&["Auc", "LogLoss"]);
            let metrics = one_of(*metrics, vec![both.clone(), list(&["LogLoss", "Auc"]), list(&["Ece"])]);
            stages.push(Doc::Fields(
                "Evaluate",
                vec![
                    field("model", Doc::Stage(models + model.index(trained - models))),
                    field("data", data(of)),
                    or("metrics", metrics, both),
                    or("on", one_of(*on, ["Test", "Valid"].map(word).to_vec()), word("Test")),
                ],
            ));
        }
        for &(balanced, _, seed) in &self.toys {
            // losses fall below 0 there, where not every balancer has a meaning
            let balancers = Doc::List(vec![one_of(balanced, vec![balancer(0), balancer(5)])]);
            let seed = or("seed", Doc::Count(seed), Doc::Count(1));
            stages.push(Doc::Fields("Toy", vec![field("balancers", balancers), seed]));
        }
        let row = |(at, name)| {
            Doc::Fields("Row", vec![field("name", Doc::Text(name)), field("runs", Doc::List(vec![Doc::Stage(at)]))])
        };
        let rows: Vec<Doc> =
            (trained..trained + self.evaluates.len().min(2)).zip(["one", "other \"1\""]).map(row).collect();
        let measured = |stage: &Doc| matches!(stage, Doc::Fields("Evaluate", fields) if !fields[2].value.has("Ece"));
        if !rows.is_empty() && stages[trained..][..rows.len()].iter().all(measured) {
            let auc = || Doc::List(vec![word("Auc")]);
            stages.push(Doc::Fields("Compare", vec![field("rows", Doc::List(rows)), or("metrics", auc(), auc())]));
        }
        stages
    }
}

impl Doc {
    fn has(&self, name: &str) -> bool {
        matches!(self, Doc::List(items) if items.contains(&word(name)))
    }
}

/// One way of writing a pipeline.
struct Style {
    random: ChaCha8Rng,
    /// The stages' names.
    names: Vec<String>,
}

impl Style {
    fn new(seed: u64, stages: usize) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let mut names: Vec<String> = (0..stages).map(|at| format!("{}{at}", ["s", "é.", "_-", "9"][at % 4])).collect();
        names.shuffle(&mut random);
        Self { random, names }
    }

    fn chance(&mut self) -> bool {
        self.random.random()
    }

    fn space(&mut self) -> &'static str {
        const SPACES: [&str; 8] = ["", "", "", " ", "\n\t", "/* }, ( */", "// seed: 9 }\n", "/* a /* b */ \" */"];
        SPACES.choose(&mut self.random).unwrap()
    }

    /// Parts between brackets, with comments wherever they may stand.
    fn among(&mut self, open: &str, parts: Vec<String>, close: &str) -> String {
        let mut text = format!("{open}{}", self.space());
        let last = parts.len().saturating_sub(1);
        for (at, part) in parts.iter().enumerate() {
            text = text + self.space() + part + self.space();
            if at < last || self.chance() {
                text.push(',');
            }
        }
        text + self.space() + close
    }

    fn write(&mut self, doc: &Doc) -> String {
        match doc {
            Doc::Word(word) => word.clone(),
            Doc::Count(count) => {
                let spelt = [count.to_string(), format!("0x{count:x}"), format!("0b{count:b}"), format!("{count}_")];
                spelt.choose(&mut self.random).unwrap().clone()
            }
            Doc::Number(number) => {
                let spelt =
                    [format!("{number:?}"), format!("{number:e}"), format!("+{number:E}"), format!("{number:?}0")];
                // nothing may follow an exponent
                let spelt = &spelt[..if format!("{number:?}").contains('e') { 3 } else { 4 }];
                spelt.choose(&mut self.random).unwrap().clone()
            }
            Doc::Text(text) => self.text(text),
            Doc::Stage(at) => self.text(&self.names[*at].clone()),
            Doc::List(items) => self.items("[", items, "]"),
            Doc::Tuple(items) => self.items("(", items, ")"),
            Doc::Holds(name, value) => self.items(&format!("{name}("), std::slice::from_ref(value), ")"),
            Doc::Either(docs) => {
                let doc = docs.choose(&mut self.random).unwrap();
                self.write(doc)
            }
            Doc::Fields(name, fields) => {
                let mut fields: Vec<&Field> = fields.iter().filter(|field| !(field.default && self.chance())).collect();
                fields.shuffle(&mut self.random);
                let parts = fields.into_iter().map(|field| {
                    let (before, after) = (self.space(), self.space());
                    format!("{}{before}:{after}{}", field.name, self.write(&field.value))
                });
                let parts = parts.collect();
                let open = format!("{name}{}(", self.space());
                self.among(&open, parts, ")")
            }
        }
    }

    fn items(&mut self, open: &str, items: &[Doc], close: &str) -> String {
        let parts = items.iter().map(|item| self.write(item)).collect();
        self.among(open, parts, close)
    }

    fn text(&mut self, text: &str) -> String {
        let escaped: String = text.chars().map(|c| format!("\\u{{{:x}}}", u32::from(c))).collect();
        let spelt = [format!("{text:?}"), format!("r##\"{text}\"##"), format!("\"{escaped}\"")];
        spelt.choose(&mut self.random).unwrap().clone()
    }

    fn pipeline(&mut self, stages: &[Doc]) -> String {
        let mut order: Vec<usize> = (0..stages.len()).collect();
        order.shuffle(&mut self.random);
        let entries = order.into_iter().map(|at| {
            let (name, before, after) = (self.text(&self.names[at].clone()), self.space(), self.space());
            format!("{name}{before}:{after}{}", self.write(&stages[at]))
        });
        let entries = entries.collect();
        let stages = self.among("{", entries, "}");
        let golden = Doc::Fields("Golden", vec![field("file", Doc::Text("golden/a.ron"))]);
        let golden = [word("None"), Doc::Holds("Some", Box::new(golden))].choose(&mut self.random).unwrap().clone();
        let name = ["p", "q.1"].choose(&mut self.random).unwrap();
        let mut parts = vec![format!("name: {}", self.text(name)), format!("stages: {stages}")];
        parts.push(format!("golden: {}", self.write(&golden)));
        parts.shuffle(&mut self.random);
        let open = if self.chance() { "Pipeline(" } else { "(" };
        self.among(open, parts, ")") + "\n"
    }
}

fn read(text: &str) -> Pipeline {
    parse(text, "p.ron", &[]).unwrap_or_else(|problems| panic!("{problems}\n{text}")).pipeline
}

/// The key of every stage by its name.
fn keys(pipeline: &Pipeline) -> BTreeMap<String, Digest> {
    let graph = Graph::of_pipeline(pipeline).unwrap();
    let digests = FileDigests::default();
    let site = Site { root: Path::new("nowhere"), device: Device::Cpu, digests: &digests, offline: true };
    let (mut keys, mut contents) = (BTreeMap::new(), Vec::new());
    for node in graph.nodes() {
        let inputs = node.inputs.iter().map(|(field, input)| (field.as_ref(), contents[*input]));
        let key = recipe(node.work.as_ref(), inputs, site).unwrap().key();
        contents.push(Digest::of_bytes(key.to_string().as_bytes()));
        keys.insert(node.name.clone(), key);
    }
    keys
}

/// A stage and all that reads it, directly or not: once through the stages as often as there are stages.
fn downstream<'a>(pipeline: &'a Pipeline, changed: &'a str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::from([changed]);
    for _ in &pipeline.stages {
        for (name, stage) in &pipeline.stages {
            if stage.references().iter().any(|reference| reached.contains(reference.stage)) {
                reached.insert(name);
            }
        }
    }
    reached
}

/// The paths of everything in a value, as serde has it: names of fields and variants, places in lists.
fn paths(value: &serde_json::Value, path: &str, into: &mut Vec<String>) {
    let at = |part: &str| if path.is_empty() { part.to_owned() } else { format!("{path}.{part}") };
    let parts: Vec<(String, &serde_json::Value)> = match value {
        serde_json::Value::Object(fields) => fields.iter().map(|(name, value)| (at(name), value)).collect(),
        serde_json::Value::Array(items) => {
            items.iter().enumerate().map(|(i, item)| (at(&i.to_string()), item)).collect()
        }
        _ => Vec::new(),
    };
    for (path, value) in parts {
        paths(value, &path, into);
        into.push(path);
    }
}

/// Values for a field of any type: those that it does not take are refused.
fn other_values(stages: impl Iterator<Item = String>) -> Vec<String> {
    const VALUES: &str = "0|1|2|3|5|7|32|100|1000|0.25|0.75|0.0009|true|false|None|Tiny|Small|Paper|ES|US|FR|Test|Valid|\
        Train|Row|Group|AsGiven|Random(0.25)|FromTest(0.75)|FromTrain(0.25)|Mean|Fail|Simulate(rows: 500)|[Auc]|[LogLoss]|\
        [Ls()]|[PcGrad()]|[1.0, 3.0]|[(1.0, 2.0)]|(8, 4)|(64, 32)|(0.5, 0.75)|Paper|Frobenius|\"elsewhere\"|PairedT(0.01)";
    let mut values: Vec<String> = VALUES.split('|').map(|value| value.trim().to_owned()).collect();
    values.extend(Arch::entries().into_iter().map(|entry| entry.defaults));
    values.extend(Balancer::entries().into_iter().map(|entry| entry.defaults));
    values.extend(stages.map(|name| format!("{name:?}")));
    values
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, rng_seed: RngSeed::Fixed(9), ..ProptestConfig::default() })]

    #[test]
    fn ways_of_writing_a_pipeline_have_the_same_keys(drawn in drawn(), seeds in prop::collection::vec(any::<u64>(), 4)) {
        let stages = drawn.stages();
        let written = seeds.iter().map(|&seed| {
            let mut style = Style::new(seed, stages.len());
            let text = style.pipeline(&stages);
            let by_name = keys(&read(&text));
            style.names.iter().map(|name| by_name[name]).collect::<Vec<_>>()
        });
        let written: Vec<_> = written.collect();
        for (other, seed) in written.iter().zip(&seeds) {
            prop_assert_eq!(other, &written[0], "{}", Style::new(*seed, stages.len()).pipeline(&stages));
        }
    }

    #[test]
    fn a_change_of_meaning_moves_the_keys_downstream_and_no_others(
        drawn in drawn(),
        seed in any::<u64>(),
        picks in prop::collection::vec((any::<Index>(), any::<Index>(), any::<u64>()), 6),
    ) {
        let stages = drawn.stages();
        let text = Style::new(seed, stages.len()).pipeline(&stages);
        let old = read(&text);
        let before = keys(&old);
        let values = other_values(old.stages.keys().cloned());
        let mut changes = 0;
        for (stage, field, seed) in picks {
            let (name, stage) = old.stages.get_index(stage.index(old.stages.len())).unwrap();
            let mut fields = Vec::new();
            paths(&serde_json::to_value(stage).unwrap()[stage.kind()], "", &mut fields);
            let field = &fields[field.index(fields.len())];
            let mut values = values.clone();
            values.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
            let parsed = values.iter().map(|value| format!("{name}.{field}={value}")).filter_map(|set| {
                let new = parse(&text, "p.ron", std::slice::from_ref(&set)).ok()?.pipeline;
                (new != old).then_some((set, new))
            });
            for (set, new) in parsed.take(3) {
                let after = keys(&new);
                let moved: BTreeSet<&str> =
                    after.iter().filter(|(name, key)| before[*name] != **key).map(|(name, _)| name.as_str()).collect();
                let reads = |stage: &str, pipeline: &Pipeline| -> Vec<String> {
                    pipeline.stages[stage].references().into_iter().map(|reference| reference.stage.to_owned()).collect()
                };
                // where it runs and reading another stage of the same meaning are no change of meaning
                let alone = |pipeline: &Pipeline| pipeline.stages[name].with_references(|_| String::new());
                let same = (field.starts_with("resources") || alone(&new) == alone(&old))
                    && reads(name, &new).iter().zip(&reads(name, &old)).all(|(new, old)| before[new] == before[old]);
                let expected = if same { BTreeSet::new() } else { downstream(&new, name) };
                prop_assert_eq!(moved, expected, "{} in {}", set, text);
                changes += 1;
            }
        }
        prop_assert!(changes > 0, "some value fits some field");
    }
}
