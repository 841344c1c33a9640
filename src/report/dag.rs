//! The graph of stages as SVG, from left to right.

use std::fmt::{self, Display, Formatter};

use rust_sugiyama::configure::Config;
use rust_sugiyama::from_vertices_and_edges;

use crate::plan::{Plan, Verdict};
use crate::svg::{Escaped, shortened};

/// A stage's box.
const BOX: [f64; 2] = [178.0, 44.0];
/// Room between boxes of a column, and between columns.
const GAP: [f64; 2] = [16.0, 46.0];
/// What an edge takes where it passes a column of boxes.
const LANE: f64 = 6.0;
/// Letters that fit into a box.
const LETTERS: usize = 25;
const MARGIN: f64 = 6.0;

/// Colours by state, for light and dark pages. The light ones stand alone, for programs that know no media queries.
pub const STYLE: &str = "\
.dag text{font-family:system-ui,-apple-system,'Segoe UI','DejaVu Sans',sans-serif;font-size:12px;fill:#1f2328}
.dag .name{font-weight:600}
.dag .small{font-size:10.5px;fill:#59636e}
.dag rect{fill:#f0f1f3;stroke:#8c959f}
.dag .edge{fill:none;stroke:#8c959f;stroke-width:1.3}
.dag .tip{fill:#8c959f}
.dag .up-to-date rect{fill:#dff5e3;stroke:#2c974b}
.dag .run rect{fill:#dbe9ff;stroke:#2f6fdb}
.dag .depends rect{fill:#fff3cd;stroke:#b58400}
.dag .impossible rect,.dag .blocked rect{fill:#ffe0dc;stroke:#cf3a2b}
.dag .left-out rect{stroke-dasharray:4 3}
@media (prefers-color-scheme:dark){
.dag text{fill:#e6edf3}
.dag .small{fill:#9aa4af}
.dag rect{fill:#1d232b;stroke:#6b7580}
.dag .edge{stroke:#6b7580}
.dag .tip{fill:#6b7580}
.dag .up-to-date rect{fill:#12301b;stroke:#3fb950}
.dag .run rect{fill:#132a4d;stroke:#6ea8fe}
.dag .depends rect{fill:#38300f;stroke:#d9a520}
.dag .impossible rect,.dag .blocked rect{fill:#4a1a16;stroke:#ff7b6b}
}
";

/// A graph to be drawn.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dag {
    /// Its boxes.
    pub nodes: Vec<DagNode>,
    /// From the stage that is read to the one that reads, by their places; no cycles.
    pub edges: Vec<(usize, usize)>,
}

/// A box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DagNode {
    /// The stage's name.
    pub name: String,
    /// What stands below it: kind and state.
    pub detail: String,
    /// The state, as [`Verdict::word`] says it: the colour.
    pub state: &'static str,
    /// What a pointer that rests on it is told.
    pub hint: String,
}

/// Where everything goes.
struct Layout {
    /// The middle of each box.
    boxes: Vec<[f64; 2]>,
    /// The points that each edge goes through.
    edges: Vec<Vec<[f64; 2]>>,
    size: [f64; 2],
}

impl Dag {
    /// The graph of a plan, a box for each stage.
    pub fn of_plan(plan: &Plan) -> Self {
        let place = |name: &String| plan.stages.iter().position(|stage| stage.name == *name);
        let nodes = plan.stages.iter().map(|stage| DagNode {
            name: stage.name.clone(),
            detail: format!("{}: {}", stage.kind, in_short(&stage.verdict)),
            state: stage.verdict.word(),
            hint: format!("{}: {}", stage.name, stage.verdict),
        });
        let reads = |(at, reads): (usize, &Vec<String>)| -> Vec<(usize, usize)> {
            reads.iter().filter_map(|name| Some((place(name)?, at))).collect()
        };
        let edges = plan.stages.iter().map(|stage| &stage.reads).enumerate().flat_map(reads).collect();
        Self { nodes: nodes.collect(), edges }
    }

    /// A drawing that stands alone, its colours with it.
    pub fn standalone(&self) -> String {
        self.to_string().replacen("<title>", &format!("<style>\n{STYLE}</style><title>"), 1)
    }

    /// The columns: a stage stands to the right of all that it reads.
    fn columns(&self) -> Vec<u32> {
        let mut columns = vec![0; self.nodes.len()];
        // the longest way from a source; a way has no more edges than there are boxes
        for _ in 0..self.nodes.len() {
            let before = columns.clone();
            for &(from, to) in &self.edges {
                columns[to] = columns[to].max(columns[from] + 1);
            }
            if columns == before {
                break;
            }
        }
        columns
    }

    /// Places the boxes, and lanes for the edges that pass by others.
    fn layout(&self) -> Layout {
        let columns = self.columns();
        // the library's layers run from top to bottom: its height is our width
        let mut vertices: Vec<(u32, (f64, f64))> = Vec::new();
        for at in 0..self.nodes.len() {
            vertices.push((at as u32, (BOX[1], BOX[0])));
        }
        let mut links: Vec<(u32, u32)> = Vec::new();
        let mut lanes: Vec<Vec<usize>> = Vec::with_capacity(self.edges.len());
        for &(from, to) in &self.edges {
            let mut lane = Vec::new();
            let mut last = from as u32;
            for _ in columns[from] + 1..columns[to] {
                let next = vertices.len() as u32;
                vertices.push((next, (LANE, BOX[0])));
                links.push((last, next));
                lane.push(next as usize);
                last = next;
            }
            links.push((last, to as u32));
            lanes.push(lane);
        }
        let config = Config { vertex_spacing: GAP[0], ..Config::default() };
        let mut middles = vec![[0.0; 2]; vertices.len()];
        let mut below = 0.0;
        for (mut placed, ..) in from_vertices_and_edges(&vertices, &links, &config) {
            placed.sort_by_key(|(at, _)| *at);
            // the library lays stages that come first last
            placed.iter_mut().for_each(|(_, (x, _))| *x = -*x);
            let half = |at: usize| vertices[at].1.0 / 2.0;
            let first = placed.iter().map(|&(at, (x, _))| x - half(at)).fold(f64::INFINITY, f64::min);
            let last = placed.iter().map(|&(at, (x, _))| x + half(at)).fold(f64::NEG_INFINITY, f64::max);
            let left = placed.iter().map(|&(_, (_, y))| y).fold(f64::INFINITY, f64::min);
            for &(at, (x, y)) in &placed {
                let column = (y - left) / (BOX[0] + GAP[0]);
                middles[at] = [column * (BOX[0] + GAP[1]) + BOX[0] / 2.0, x - first + below];
            }
            below += last - first + GAP[0];
        }
        let edges = self.edges.iter().zip(&lanes).map(|(&(from, to), lane)| {
            let [[x, y], [to_x, to_y]] = [middles[from], middles[to]];
            let mut way = vec![[x + BOX[0] / 2.0, y]];
            for &at in lane {
                let [x, y] = middles[at];
                way.extend([[x - BOX[0] / 2.0, y], [x + BOX[0] / 2.0, y]]);
            }
            way.push([to_x - BOX[0] / 2.0, to_y]);
            way
        });
        let edges = edges.collect();
        middles.truncate(self.nodes.len());
        let right = middles.iter().map(|[x, _]| x + BOX[0] / 2.0).fold(0.0, f64::max);
        Layout { boxes: middles, edges, size: [right, (below - GAP[0]).max(0.0)] }
    }
}

/// A state in a word or two.
fn in_short(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::UpToDate(_) => "up to date",
        Verdict::Pulled(_) => "in the remote",
        Verdict::After { own, .. } if own.is_empty() => "depends",
        Verdict::Run(_) | Verdict::After { .. } => "will run",
        Verdict::Impossible(_) | Verdict::Blocked { .. } => "cannot run",
        Verdict::LeftOut => "left out",
    }
}

impl Display for Dag {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        let Layout { boxes, edges, size: [width, height] } = self.layout();
        let [width, height] = [width + 2.0 * MARGIN, height + 2.0 * MARGIN];
        writeln!(
            f,
            r#"<svg xmlns="http://www.w3.org/2000/svg" class="dag" role="img" width="{width:.0}" height="{height:.0}" viewBox="{} {} {width:.0} {height:.0}">"#,
            -MARGIN, -MARGIN
        )?;
        writeln!(f, "<title>The graph of stages</title>")?;
        for way in &edges {
            let [x, y] = way[0];
            write!(f, r#"<path class="edge" d="M{x:.1} {y:.1}"#)?;
            for (at, pair) in way.windows(2).enumerate() {
                let [[x, y], [to_x, to_y]] = [pair[0], pair[1]];
                // through a column of boxes straight on, between columns in a curve
                if at % 2 == 1 {
                    write!(f, "H{to_x:.1}")?;
                } else {
                    let half = f64::midpoint(x, to_x);
                    write!(f, "C{half:.1} {y:.1} {half:.1} {to_y:.1} {to_x:.1} {to_y:.1}")?;
                }
            }
            let [x, y] = way[way.len() - 1];
            writeln!(f, r#""/><path class="tip" d="M{x:.1} {y:.1}l-7 -3.5v7z"/>"#)?;
        }
        for (DagNode { name, detail, state, hint }, [x, y]) in self.nodes.iter().zip(boxes) {
            let [width, height] = BOX;
            writeln!(
                f,
                r#"<g class="{state}" transform="translate({:.1} {:.1})"><title>{}</title><rect width="{width}" height="{height}" rx="7"/><text class="name" x="10" y="18">{}</text><text class="small" x="10" y="34">{}</text></g>"#,
                x - width / 2.0,
                y - height / 2.0,
                Escaped(hint),
                Escaped(&shortened(name, LETTERS)),
                Escaped(&shortened(detail, LETTERS + 5)),
            )?;
        }
        writeln!(f, "</svg>")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dag(nodes: usize, edges: &[(usize, usize)]) -> Dag {
        let node = |at: usize| DagNode {
            name: format!("s{at}"),
            detail: "Fake: will run".into(),
            state: "run",
            hint: format!("s{at} <will> run"),
        };
        Dag { nodes: (0..nodes).map(node).collect(), edges: edges.to_vec() }
    }

    /// Boxes may not touch, every edge goes to the right, and none passes through a box.
    fn check(dag: &Dag) {
        let Layout { boxes, edges, size } = dag.layout();
        for (at, [x, y]) in boxes.iter().enumerate() {
            assert!(*x >= BOX[0] / 2.0 && x + BOX[0] / 2.0 <= size[0] + 1e-9, "{at}: {x}");
            assert!(*y >= BOX[1] / 2.0 - 1e-9 && y + BOX[1] / 2.0 <= size[1] + 1e-9, "{at}: {y} {size:?}");
            for [other_x, other_y] in &boxes[..at] {
                let apart = (x - other_x).abs() >= BOX[0] || (y - other_y).abs() >= BOX[1];
                assert!(apart, "{at} touches another");
            }
        }
        for (way, (from, to)) in edges.iter().zip(&dag.edges) {
            assert!(way.windows(2).all(|pair| pair[0][0] < pair[1][0]), "{way:?}");
            assert_eq!((way.len() % 2, way[0][1], way[way.len() - 1][1]), (0, boxes[*from][1], boxes[*to][1]));
            for pair in way[1..way.len() - 1].chunks(2) {
                let [x, y] = [f64::midpoint(pair[0][0], pair[1][0]), pair[0][1]];
                let through = boxes.iter().any(|b| (b[0] - x).abs() < 1.0 && (b[1] - y).abs() < BOX[1] / 2.0);
                assert!(!through, "{from} → {to} goes through a box: {way:?}");
            }
        }
    }

    #[test]
    fn boxes_and_edges_keep_apart() {
        // the usual pipeline: data is read by the model, by training and by the evaluation
        check(&dag(5, &[(0, 1), (1, 2), (1, 3), (2, 3), (1, 4), (3, 4)]));
        // two graphs, and a lone stage
        check(&dag(6, &[(0, 1), (2, 3), (2, 4)]));
        // a fan with a table at its end
        let fan: Vec<(usize, usize)> =
            (1..9).flat_map(|at| [(0, at), (at, at + 8), (0, at + 8), (at + 8, 17)]).collect();
        check(&dag(18, &fan));
        assert!(dag(0, &[]).to_string().contains("<svg"));
    }

    #[test]
    fn drawings_stand_alone_and_are_the_same_every_time() {
        let usual = dag(4, &[(0, 1), (1, 2), (0, 2), (2, 3)]);
        let drawing = usual.standalone();
        assert_eq!(drawing, usual.standalone());
        assert!(drawing.contains("prefers-color-scheme:dark") && drawing.contains("s0 &lt;will&gt; run"), "{drawing}");
        assert_eq!(drawing.matches("<rect").count(), 4);
    }
}
