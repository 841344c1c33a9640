//! Where the parts of a pipeline stand, for whoever finds later that one of them leads nowhere.

use super::diagnostic::{Origin, Source};
use super::syntax::{Kind, Node, Span};

/// The texts a pipeline was read from and the place of each of its parts in them.
#[derive(Debug, Clone, PartialEq)]
pub struct Places {
    sources: Vec<Source>,
    /// Canonical, `--set` arguments applied, placed where each part was written.
    tree: Node,
}

impl Places {
    pub(super) fn new(sources: Vec<Source>, tree: Node) -> Self {
        Self { sources, tree }
    }

    /// Of something that stands for a whole file: every part is at its beginning.
    pub fn of_file(path: &std::path::Path) -> Self {
        let start = Span { source: 0, start: 0, end: 0 };
        let source = Source { origin: Origin::File(path.display().to_string()), text: String::new() };
        Self { sources: vec![source], tree: Node { span: start, head: start, kind: Kind::List(Vec::new()) } }
    }

    /// `file:line:column` of a part, as in `["stages", "model", "init"]`; of the nearest part around it when it is not
    /// written out, and of the `--set` argument when that wrote it.
    pub fn of(&self, path: &[&str]) -> String {
        let head = self.tree.locate(path).head;
        self.sources.get(head.source).map_or_else(String::new, |source| source.place(head.start))
    }
}

#[cfg(test)]
mod tests {
    use crate::spec::tests::SHORT;
    use crate::spec::{Loaded, parse};

    #[test]
    fn a_part_stands_where_it_was_written_last() {
        let text = SHORT.replace("arch: Mmoe()", "arch: Mmoe(), init: Checkpoint(\"a\")");
        let read = |sets: &[&str]| -> Loaded {
            parse(&text, "p.ron", &sets.iter().map(|set| (*set).to_owned()).collect::<Vec<_>>()).unwrap()
        };
        let init = ["stages", "m", "init"];
        let line = text.lines().position(|line| line.contains("init")).unwrap();
        let column = text.lines().nth(line).unwrap().find("Checkpoint").unwrap();
        assert_eq!(read(&[]).places.of(&init), format!("p.ron:{}:{}", line + 1, column + 1));
        let set = "m.init=Checkpoint(\"b\")";
        assert_eq!(read(&[set]).places.of(&init), format!("--set {set}:1:8"));
        // not written out: the stage stands for it
        assert!(read(&[]).places.of(&["stages", "m", "seed"]).starts_with(&format!("p.ron:{}:", line + 1)));
    }
}
