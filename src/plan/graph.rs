//! The directed acyclic graph of a pipeline's stages.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use petgraph::Direction;
use petgraph::graph::{DiGraph, NodeIndex};
use petgraph::visit::{Dfs, EdgeRef, Reversed};

use crate::spec::{Pipeline, Resources};
use crate::stage::Work;

/// The stages of a pipeline in topological order. Wherever a stage is meant by a number, it is its place in this order.
pub struct Graph {
    /// The pipeline's name.
    pub pipeline: String,
    nodes: Vec<Node>,
    edges: DiGraph<(), ()>,
}

/// One stage.
pub struct Node {
    /// Its name in the pipeline.
    pub name: String,
    /// What it does.
    pub work: Box<dyn Work>,
    /// The stages it reads, by the field that names them.
    pub inputs: Vec<(Cow<'static, str>, usize)>,
    /// What it asks of a cluster.
    pub resources: Resources,
}

/// The stages form no graph that could be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// A stage reads one that is not there.
    #[error("stage `{stage}` reads `{missing}` in its field `{field}`, and there is no such stage")]
    Missing {
        /// The stage that reads.
        stage: String,
        /// The field that names the missing one.
        field: Cow<'static, str>,
        /// The name that no stage has.
        missing: String,
    },
    /// Some stages wait for each other.
    #[error("these stages wait for each other: {}", .0.join(", "))]
    Cycle(Vec<String>),
}

/// A call names a stage that the pipeline does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("pipeline `{pipeline}` has no stage `{name}`")]
pub struct UnknownStage {
    /// The pipeline's name.
    pub pipeline: String,
    /// The name that no stage has.
    pub name: String,
    /// The stages it does have.
    pub known: Vec<String>,
}

impl UnknownStage {
    /// The nearest name, or all of them.
    pub fn hint(&self) -> String {
        let distance = |known: &String| strsim::damerau_levenshtein(known, &self.name);
        match self.known.iter().min_by_key(|known| distance(known)) {
            Some(nearest) if distance(nearest) <= 1 + self.name.chars().count() / 3 => {
                format!("did you mean `{nearest}`?")
            }
            _ => format!("its stages are {}", self.known.join(", ")),
        }
    }
}

impl Graph {
    /// The graph of a checked pipeline.
    ///
    /// # Errors
    /// When a reference points nowhere or stages wait for each other, which checking the pipeline file reports first.
    pub fn of_pipeline(pipeline: &Pipeline) -> Result<Self, GraphError> {
        let stages = pipeline.stages.iter();
        let stages = stages.map(|(name, stage)| (name.clone(), Box::new(stage.clone()) as _)).collect();
        let mut graph = Self::new(&pipeline.name, stages)?;
        for node in &mut graph.nodes {
            let own = pipeline.stages.get(&node.name).map(|stage| stage.resources());
            node.resources = own.map_or_else(Resources::default, |own| own.or(&pipeline.resources));
        }
        Ok(graph)
    }

    /// The graph of some stages; those that may run in any order keep the one they are given in.
    ///
    /// # Errors
    /// When a reference points nowhere or stages wait for each other.
    pub fn new(pipeline: &str, stages: Vec<(String, Box<dyn Work>)>) -> Result<Self, GraphError> {
        let given: HashMap<&str, usize> = stages.iter().enumerate().map(|(i, (name, _))| (name.as_str(), i)).collect();
        let mut references = Vec::with_capacity(stages.len());
        for (stage, work) in &stages {
            let resolve = |(field, missing): (Cow<'static, str>, String)| match given.get(missing.as_str()) {
                Some(&input) => Ok((field, input)),
                None => Err(GraphError::Missing { stage: stage.clone(), field, missing }),
            };
            references.push(work.references().into_iter().map(resolve).collect::<Result<Vec<_>, _>>()?);
        }

        let order = topological_order(&references)
            .map_err(|cycle| GraphError::Cycle(cycle.into_iter().map(|i| stages[i].0.clone()).collect()))?;
        let mut place = vec![0; stages.len()];
        for (at, &stage) in order.iter().enumerate() {
            place[stage] = at;
        }
        let mut nodes: Vec<(usize, Node)> = stages
            .into_iter()
            .zip(references)
            .enumerate()
            .map(|(i, ((name, work), inputs))| {
                let inputs = inputs.into_iter().map(|(field, input)| (field, place[input])).collect();
                (place[i], Node { name, work, inputs, resources: Resources::default() })
            })
            .collect();
        nodes.sort_by_key(|(place, _)| *place);
        let nodes: Vec<Node> = nodes.into_iter().map(|(_, node)| node).collect();

        let mut edges = DiGraph::new();
        for _ in &nodes {
            edges.add_node(());
        }
        for (at, node) in nodes.iter().enumerate() {
            for (_, input) in &node.inputs {
                edges.update_edge(NodeIndex::new(*input), NodeIndex::new(at), ());
            }
        }
        Ok(Self { pipeline: pipeline.to_owned(), nodes, edges })
    }

    /// The stages in topological order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The stages that read this one, each once, in order.
    pub fn readers(&self, stage: usize) -> Vec<usize> {
        let mut readers: Vec<usize> =
            self.edges.neighbors_directed(NodeIndex::new(stage), Direction::Outgoing).map(NodeIndex::index).collect();
        readers.sort_unstable();
        readers
    }

    /// The stages that this one reads, each once, in order.
    pub fn sources(&self, stage: usize) -> Vec<usize> {
        let incoming = self.edges.edges_directed(NodeIndex::new(stage), Direction::Incoming);
        let mut sources: Vec<usize> = incoming.map(|edge| edge.source().index()).collect();
        sources.sort_unstable();
        sources
    }

    /// Which stages are needed for this one, itself included.
    pub fn needed_for(&self, stage: usize) -> Vec<bool> {
        let mut needed = vec![false; self.nodes.len()];
        let backwards = Reversed(&self.edges);
        let mut walk = Dfs::new(backwards, NodeIndex::new(stage));
        while let Some(found) = walk.next(backwards) {
            needed[found.index()] = true;
        }
        needed
    }

    /// The stage of this name.
    ///
    /// # Errors
    /// [`UnknownStage`], which knows the nearest spelling.
    pub fn find(&self, name: &str) -> Result<usize, UnknownStage> {
        self.nodes.iter().position(|node| node.name == name).ok_or_else(|| UnknownStage {
            pipeline: self.pipeline.clone(),
            name: name.to_owned(),
            known: self.nodes.iter().map(|node| node.name.clone()).collect(),
        })
    }
}

/// Kahn's algorithm, taking the earliest given of the stages that are free: petgraph's own order depends on the edges
/// too, and people should see their stages in the order they wrote them.
fn topological_order(references: &[Vec<(Cow<'static, str>, usize)>]) -> Result<Vec<usize>, Vec<usize>> {
    let mut waits_for: Vec<usize> = references.iter().map(Vec::len).collect();
    let mut read_by = vec![Vec::new(); references.len()];
    for (stage, inputs) in references.iter().enumerate() {
        for (_, input) in inputs {
            read_by[*input].push(stage);
        }
    }
    let mut free: BinaryHeap<Reverse<usize>> =
        (0..references.len()).filter(|&stage| waits_for[stage] == 0).map(Reverse).collect();
    let mut order = Vec::with_capacity(references.len());
    while let Some(Reverse(stage)) = free.pop() {
        order.push(stage);
        for &reader in &read_by[stage] {
            waits_for[reader] -= 1;
            if waits_for[reader] == 0 {
                free.push(Reverse(reader));
            }
        }
    }
    if order.len() == references.len() {
        Ok(order)
    } else {
        Err((0..references.len()).filter(|&stage| waits_for[stage] > 0).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stage::fake::Fake;

    fn graph(stages: &[(&str, &[&str])]) -> Result<Graph, GraphError> {
        Graph::new(
            "p",
            stages.iter().map(|(name, reads)| ((*name).to_owned(), Box::new(Fake::reading(reads)) as _)).collect(),
        )
    }

    fn names(graph: &Graph) -> Vec<&str> {
        graph.nodes().iter().map(|node| node.name.as_str()).collect()
    }

    #[test]
    fn order_is_topological_and_otherwise_as_written() {
        let diamond =
            graph(&[("end", &["left", "right"]), ("right", &["start"]), ("left", &["start"]), ("start", &[])]).unwrap();
        assert_eq!(names(&diamond), ["start", "right", "left", "end"]);
        assert_eq!(diamond.readers(0), [1, 2]);
        assert_eq!(diamond.sources(3), [1, 2]);
        assert_eq!(diamond.needed_for(2), [true, false, true, false]);
        let free = graph(&[("c", &[]), ("a", &[]), ("b", &[])]).unwrap();
        assert_eq!(names(&free), ["c", "a", "b"]);
    }

    #[test]
    fn cycles_and_missing_stages_are_named() {
        let cycle = graph(&[("a", &[]), ("b", &["a", "c"]), ("c", &["b"])]).err().unwrap();
        assert_eq!(cycle.to_string(), "these stages wait for each other: b, c");
        let missing = graph(&[("a", &["z"])]).err().unwrap();
        assert_eq!(missing.to_string(), "stage `a` reads `z` in its field `in0`, and there is no such stage");
    }

    #[test]
    fn an_unknown_stage_comes_with_the_nearest_name() {
        let graph = graph(&[("train", &[]), ("evaluate", &[])]).unwrap();
        assert_eq!(graph.find("evaluate").unwrap(), 1);
        assert_eq!(graph.find("trian").unwrap_err().hint(), "did you mean `train`?");
        assert_eq!(graph.find("download").unwrap_err().hint(), "its stages are train, evaluate");
    }
}
