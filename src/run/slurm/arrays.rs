//! Which stages become one job array, and what each array waits for. Slurm knows two ways to wait that fit: for some tasks
//! of other arrays to end well (`afterok`, the same for all tasks of an array), and task by task for the task of the same
//! number (`aftercorr`). Stages of one shape that wait alike are one array; every stage waits for exactly those it reads.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use crate::plan::Graph;
use crate::spec::Resources;

/// Stages that are submitted together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Array {
    /// The stages' kind.
    pub kind: String,
    /// What each of them asks for.
    pub resources: Resources,
    /// The stages' names, by the number of their task.
    pub tasks: BTreeMap<u32, String>,
    /// The array that each task waits for the task of its own number of.
    pub corresponding: Option<usize>,
    /// Tasks of earlier arrays that all tasks wait for; of an array without numbers, for all of them.
    pub after: BTreeMap<usize, Option<Vec<u32>>>,
}

/// Where a stage is submitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Seat {
    array: usize,
    task: u32,
}

/// What the stages of one array have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Bond<'a> {
    kind: &'a str,
    /// Numbers are no keys; their text is.
    resources: String,
    corresponding: Option<usize>,
    after: Vec<usize>,
}

/// Makes arrays of the stages that remain to be made, each after those that it waits for, with at most `largest` tasks.
pub(super) fn arrange(graph: &Graph, remaining: &[bool], largest: u32) -> Vec<Array> {
    let waits: Vec<Vec<usize>> = (0..remaining.len())
        .map(|stage| if remaining[stage] { waits_for(graph, stage, remaining) } else { Vec::new() })
        .collect();
    let mut arrays: Vec<Array> = Vec::new();
    let mut seats: HashMap<usize, Seat> = HashMap::new();
    for stages in levels(&waits, remaining) {
        let shape = |stage: usize| (graph.nodes()[stage].work.kind(), format!("{:?}", graph.nodes()[stage].resources));
        let mut followers: HashMap<(usize, (&str, String)), usize> = HashMap::new();
        for &stage in &stages {
            if let Some(&last) = waits[stage].last() {
                *followers.entry((last, shape(stage))).or_default() += 1;
            }
        }
        let mut bonds: Vec<(Bond, Vec<usize>)> = Vec::new();
        let mut known: HashMap<Bond, usize> = HashMap::new();
        for &stage in &stages {
            let (kind, resources) = shape(stage);
            let mut after = waits[stage].clone();
            // the only one of its shape that waits for this stage can have its number
            let alone = after.last().is_some_and(|&last| followers[&(last, shape(stage))] == 1);
            let corresponding = if alone { after.pop().map(|last| seats[&last].array) } else { None };
            let bond = Bond { kind, resources, corresponding, after };
            let at = *known.entry(bond.clone()).or_insert_with(|| {
                bonds.push((bond, Vec::new()));
                bonds.len() - 1
            });
            bonds[at].1.push(stage);
        }
        for (mut bond, stages) in bonds {
            if let [only] = stages[..]
                && !bond.after.is_empty()
            {
                // one stage alone needs nobody's number
                (bond.corresponding, bond.after) = (None, waits[only].clone());
            }
            // numbers that are taken over are small enough already
            let chunk = if bond.corresponding.is_some() { stages.len() } else { largest.max(1) as usize };
            for stages in stages.chunks(chunk) {
                let array = arrays.len();
                let mut tasks = BTreeMap::new();
                for (at, &stage) in stages.iter().enumerate() {
                    let last = waits[stage].last();
                    let task = match (bond.corresponding, last) {
                        (Some(_), Some(last)) => seats[last].task,
                        _ => u32::try_from(at).unwrap_or(u32::MAX),
                    };
                    seats.insert(stage, Seat { array, task });
                    tasks.insert(task, graph.nodes()[stage].name.clone());
                }
                let resources = graph.nodes()[stages[0]].resources.clone();
                let after = after(&bond.after, &seats, &arrays);
                let kind = bond.kind.to_owned();
                arrays.push(Array { kind, resources, tasks, corresponding: bond.corresponding, after });
            }
        }
    }
    arrays
}

/// The remaining stages that this one reads, without those that another of them comes after anyway.
fn waits_for(graph: &Graph, stage: usize, remaining: &[bool]) -> Vec<usize> {
    let sources = |stage: usize| graph.sources(stage).into_iter().filter(|&source| remaining[source]);
    let mut before = vec![false; stage];
    let mut walk: Vec<usize> = sources(stage).flat_map(sources).collect();
    while let Some(found) = walk.pop() {
        if !std::mem::replace(&mut before[found], true) {
            walk.extend(sources(found));
        }
    }
    sources(stage).filter(|&source| !before[source]).collect()
}

/// The remaining stages by the length of the longest chain before them.
fn levels(waits: &[Vec<usize>], remaining: &[bool]) -> Vec<Vec<usize>> {
    let mut level = vec![0; waits.len()];
    let mut levels: Vec<Vec<usize>> = Vec::new();
    for stage in (0..waits.len()).filter(|&stage| remaining[stage]) {
        level[stage] = waits[stage].iter().map(|&source| level[source] + 1).max().unwrap_or(0);
        levels.resize_with(levels.len().max(level[stage] + 1), Vec::new);
        levels[level[stage]].push(stage);
    }
    levels
}

/// The tasks of these stages, by array.
fn after(stages: &[usize], seats: &HashMap<usize, Seat>, arrays: &[Array]) -> BTreeMap<usize, Option<Vec<u32>>> {
    let mut after: BTreeMap<usize, Vec<u32>> = BTreeMap::new();
    for seat in stages.iter().map(|stage| seats[stage]) {
        after.entry(seat.array).or_default().push(seat.task);
    }
    let whole = |array: usize, tasks: &[u32]| tasks.len() == arrays[array].tasks.len();
    after.into_iter().map(|(array, tasks)| (array, if whole(array, &tasks) { None } else { Some(tasks) })).collect()
}

impl Array {
    /// The value of `sbatch --dependency`; `ids` are the numbers of the jobs of all earlier arrays.
    pub(super) fn dependency(&self, ids: &[u64]) -> Option<String> {
        let mut parts: Vec<String> =
            self.corresponding.iter().map(|&array| format!("aftercorr:{}", ids[array])).collect();
        for (&array, tasks) in &self.after {
            let id = ids[array];
            match tasks {
                None => parts.push(format!("afterok:{id}")),
                Some(tasks) => parts.extend(tasks.iter().map(|task| format!("afterok:{id}_{task}"))),
            }
        }
        (!parts.is_empty()).then(|| parts.join(","))
    }

    /// The value of `sbatch --array`: `0-4,7`.
    pub(super) fn numbers(&self) -> String {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for &task in self.tasks.keys() {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == task => *last = task,
                _ => ranges.push((task, task)),
            }
        }
        let text = ranges.iter().map(
            |(first, last)| {
                if first == last { first.to_string() } else { format!("{first}-{last}") }
            },
        );
        text.collect::<Vec<_>>().join(",")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stage::fake::Fake;

    fn graph(stages: &[(String, Vec<String>)]) -> Graph {
        let fake = |reads: &[String]| Fake::reading(&reads.iter().map(String::as_str).collect::<Vec<_>>());
        Graph::new("p", stages.iter().map(|(name, reads)| (name.clone(), Box::new(fake(reads)) as _)).collect())
            .unwrap()
    }

    /// `name: reads, ..` a line.
    fn of_lines(lines: &str) -> Graph {
        let stages = lines.lines().map(|line| {
            let (name, reads) = line.trim().split_once(':').unwrap();
            let reads = reads.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
            (name.to_owned(), reads.collect())
        });
        graph(&stages.collect::<Vec<_>>())
    }

    /// An array a line: its tasks, and what it waits for, as if array n were job n.
    fn shown(arrays: &[Array]) -> String {
        let ids: Vec<u64> = (0..arrays.len() as u64).collect();
        let line = |array: &Array| {
            let tasks: Vec<&str> = array.tasks.values().map(String::as_str).collect();
            let dependency = array.dependency(&ids).unwrap_or_default();
            format!("{} {} {dependency}", array.numbers(), tasks.join(" ")).trim_end().to_owned() + "\n"
        };
        arrays.iter().map(line).collect()
    }

    #[test]
    fn a_small_sweep_is_few_arrays() {
        let lines = "dES:\ndUS:\npES:dES\npUS:dUS\nmES:pES\nmUS:pUS\n\
            aES:mES,pES\nbES:mES,pES\ncES:mES,pES\naUS:mUS,pUS\nbUS:mUS,pUS\ncUS:mUS,pUS\n\
            evaES:aES,pES\nevbES:bES,pES\nevcES:cES,pES\nevaUS:aUS,pUS\nevbUS:bUS,pUS\nevcUS:cUS,pUS\n\
            table:evaES,evbES,evcES,evaUS,evbUS";
        let graph = of_lines(lines);
        let all = vec![true; graph.nodes().len()];
        insta::assert_snapshot!(shown(&arrange(&graph, &all, 1000)), @"
        0-1 dES dUS
        0-1 pES pUS aftercorr:0
        0-1 mES mUS aftercorr:1
        0-2 aES bES cES afterok:2_0
        0-2 aUS bUS cUS afterok:2_1
        0-2 evaES evbES evcES aftercorr:3
        0-2 evaUS evbUS evcUS aftercorr:4
        0 table afterok:5
        ");
        // what is there already is waited for by nobody
        let left: Vec<bool> =
            graph.nodes().iter().map(|node| !matches!(&node.name[..], "dES" | "pES" | "mES" | "bES")).collect();
        insta::assert_snapshot!(shown(&arrange(&graph, &left, 2)), @"
        0-1 dUS aES
        0-1 cES evbES
        0-1 pUS evaES aftercorr:0
        0 evcES aftercorr:1
        0 mUS aftercorr:2
        0 table afterok:1_1,afterok:2_1,afterok:3
        0-1 aUS bUS afterok:4
        0 cUS afterok:4
        0-1 evaUS evbUS aftercorr:6
        0 evcUS aftercorr:7
        ");
    }

    /// What a stage's job comes after in Slurm, by the arrays alone: the names of all stages before it.
    fn before(arrays: &[Array], array: usize, task: u32, into: &mut std::collections::BTreeSet<String>) {
        let mut add = |array: usize, task: u32| {
            if into.insert(arrays[array].tasks[&task].clone()) {
                before(arrays, array, task, into);
            }
        };
        if let Some(other) = arrays[array].corresponding {
            add(other, task);
        }
        for (&other, tasks) in &arrays[array].after {
            let all: Vec<u32> = arrays[other].tasks.keys().copied().collect();
            tasks.as_ref().unwrap_or(&all).iter().for_each(|&task| add(other, task));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn every_stage_comes_after_exactly_what_it_needs(
            reads in prop::collection::vec(prop::collection::vec(any::<prop::sample::Index>(), 0..4), 1..40),
            done in 0..20_usize,
            largest in 1..6_u32,
        ) {
            let name = |stage: usize| format!("s{stage:02}");
            let sources = |(at, reads): (usize, &Vec<prop::sample::Index>)| {
                let sources: std::collections::BTreeSet<usize> =
                    reads.iter().filter(|_| at > 0).map(|index| index.index(at)).collect();
                (name(at), sources.into_iter().map(name).collect())
            };
            let graph = graph(&reads.iter().enumerate().map(sources).collect::<Vec<_>>());
            let remaining: Vec<bool> = (0..reads.len()).map(|stage| stage >= done.min(reads.len() / 2)).collect();
            let arrays = arrange(&graph, &remaining, largest);
            let mut seen = std::collections::BTreeSet::new();
            for (at, array) in arrays.iter().enumerate() {
                prop_assert!(array.tasks.len() <= largest as usize && array.tasks.keys().all(|&task| task < largest));
                prop_assert!(array.corresponding.iter().chain(array.after.keys()).all(|&earlier| earlier < at));
                for (&task, stage) in &array.tasks {
                    prop_assert!(seen.insert(stage.clone()), "{} is submitted twice", stage);
                    let mut found = std::collections::BTreeSet::new();
                    before(&arrays, at, task, &mut found);
                    let this = graph.find(stage).unwrap();
                    let needed = graph.needed_for(this);
                    let expected: std::collections::BTreeSet<String> = (0..reads.len())
                        .filter(|&other| needed[other] && remaining[other] && other != this)
                        .map(|other| graph.nodes()[other].name.clone())
                        .collect();
                    prop_assert_eq!(found, expected, "before {}", stage);
                }
            }
            prop_assert_eq!(seen.len(), remaining.iter().filter(|remains| **remains).count());
        }
    }
}
