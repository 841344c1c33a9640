//! Which numbers make sense where: one table over the names of fields, so that a model or optimizer that is added later
//! and calls a thing by its name is checked without another line.

use super::diagnostic::Problem;
use super::syntax::{Body, Kind, Node, Span};

/// A set of numbers.
struct Limit {
    /// The fields (or variants that hold the number directly) that it holds for.
    names: &'static [&'static str],
    /// The numbers allowed.
    allows: fn(f64) -> bool,
    /// The same in words.
    words: &'static str,
}

const LIMITS: &[Limit] = &[
    Limit {
        names: &["FromTest", "FromTrain", "Random", "Latest"],
        allows: |x| 0.0 < x && x < 1.0,
        words: "a share between 0 and 1, both excluded",
    },
    Limit { names: &["lr", "inner_lr", "eps"], allows: |x| x > 0.0 && x.is_finite(), words: "a positive number" },
    Limit {
        names: &["weight_decay", "tolerance", "absolute", "relative"],
        allows: |x| x >= 0.0 && x.is_finite(),
        words: "a number of at least 0",
    },
    Limit {
        names: &["betas", "dropout"],
        allows: |x| (0.0..1.0).contains(&x),
        words: "a number from 0 to less than 1",
    },
    Limit { names: &["fill", "Number"], allows: f64::is_finite, words: "a finite number" },
    Limit { names: &["scale"], allows: |x| 0.0 < x && x <= 1e6, words: "above 0 and at most 1,000,000" },
    Limit { names: &["starts"], allows: |x| x.abs() <= 1000.0, words: "from -1000 to 1000" },
    Limit { names: &["steps"], allows: |x| (1.0..=1e6).contains(&x), words: "from 1 to 1,000,000" },
    Limit {
        names: &[
            "epochs",
            "patience",
            "experts",
            "shared_experts",
            "task_experts",
            "critics",
            "levels",
            "layers",
            "top_k",
            "blocks",
            "n_group",
            "topk_group",
            "embed",
            "bottom",
            "tower",
            "min_count",
            "cpus",
        ],
        allows: |x| x >= 1.0,
        words: "at least 1",
    },
    Limit { names: &["mem_gb"], allows: |x| 0.0 < x && x <= 1e6, words: "above 0 and at most 1,000,000 gigabytes" },
    Limit { names: &["hours"], allows: |x| 0.0 < x && x <= 1e4, words: "above 0 and at most 10,000 hours" },
    Limit {
        names: &["embed", "bottom", "tower"],
        allows: |x| x <= 65_536.0,
        words: "at most 65,536 (or the network fits no memory)",
    },
    Limit {
        names: &["experts", "shared_experts", "task_experts", "n_shared", "critics", "levels", "layers", "blocks"],
        allows: |x| x <= 4096.0,
        words: "at most 4,096",
    },
    Limit { names: &["batch"], allows: |x| x >= 2.0, words: "at least 2 (batch normalisation needs two rows)" },
    Limit {
        names: &["rows"],
        allows: |x| x >= 100.0,
        words: "at least 100 (or the splits are too small to measure anything)",
    },
];

/// Finds every number in a tree that its field does not allow; what is `faulty` as a whole has been reported. What a
/// balancer makes of its hyper-parameters it says itself, when it is built for a number of tasks.
pub fn out_of_range(tree: &Node, faulty: &[Span]) -> Vec<Problem> {
    let mut problems = Vec::new();
    walk(tree, "", &mut problems);
    problems.retain(|problem| !faulty.contains(&problem.span));
    problems
}

fn walk(node: &Node, name: &str, problems: &mut Vec<Problem>) {
    match &node.kind {
        Kind::Number(literal) => {
            let broken = |value: f64| LIMITS.iter().find(|limit| limit.names.contains(&name) && !(limit.allows)(value));
            if let Some(limit) = ron::from_str(literal).ok().and_then(broken) {
                let message = format!("`{name}` should be {}, not {literal}", limit.words);
                problems.push(Problem::new(message, node.head).label("out of range"));
            }
        }
        Kind::List(items) => items.iter().for_each(|item| walk(item, name, problems)),
        Kind::Map(entries) => entries.iter().for_each(|(_, value)| walk(value, "", problems)),
        Kind::Struct { name: variant, body: Body::Items(items) } => {
            let name = variant.as_ref().filter(|variant| variant.text != "Some").map_or(name, |variant| &variant.text);
            items.iter().for_each(|item| walk(item, name, problems));
        }
        Kind::Struct { body: Body::Fields(fields), .. } => {
            for (field, value) in
                fields.iter().filter(|(field, _)| !matches!(field.text.as_str(), "balancer" | "balancers"))
            {
                walk(value, &field.text, problems);
            }
        }
        Kind::Struct { body: Body::Absent, .. } | Kind::Bool(_) | Kind::Char(_) | Kind::Text(_) | Kind::Broken => {}
    }
}
