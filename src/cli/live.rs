//! How far a sweep is: the table so far on a terminal, a line for every finished cell elsewhere.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::tables;
use crate::comparison::{Table, measured};
use crate::metric::{Evaluation, Metric};
use crate::readable;
use crate::run::{Console, How, Made, Observer, StageEvaluation};
use crate::spec::{Axis, Grid, Stage, Sweep};

/// Fewer rows of a table than this tell nothing.
const LEAST_ROWS: usize = 3;

/// Shows how far a sweep is.
pub(super) struct Live<'a> {
    sweep: &'a Sweep,
    grid: &'a Grid,
    metric: Metric,
    jobs: NonZeroUsize,
    console: &'a Console,
    /// The cells of every stage.
    cells: HashMap<&'a str, Vec<usize>>,
    start: Instant,
    state: Mutex<State>,
}

struct State {
    /// How many of a cell's stages are not made yet.
    left: Vec<usize>,
    failed: Vec<bool>,
    done: usize,
    /// Cells done that had to be computed.
    fresh: usize,
    /// By stage.
    found: HashMap<String, Evaluation>,
}

impl<'a> Live<'a> {
    pub(super) fn new(
        sweep: &'a Sweep,
        grid: &'a Grid,
        metric: Metric,
        jobs: NonZeroUsize,
        console: &'a Console,
    ) -> Self {
        let mut cells: HashMap<&str, Vec<usize>> = HashMap::new();
        for (at, cell) in grid.cells.iter().enumerate() {
            cell.stages.values().for_each(|stage| cells.entry(stage).or_default().push(at));
        }
        let left = grid.cells.iter().map(|cell| cell.stages.len()).collect();
        let failed = vec![false; grid.cells.len()];
        let state = Mutex::new(State { left, failed, done: 0, fresh: 0, found: HashMap::new() });
        Self { sweep, grid, metric, jobs, console, cells, start: Instant::now(), state }
    }

    /// Takes away what was shown.
    pub(super) fn end(&self) {
        self.console.show_above("");
    }

    /// Changes what is known, and shows it if `change` says that there is something new to see.
    fn update(&self, change: impl FnOnce(&mut State) -> bool) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if change(&mut state)
            && let Some((rows, columns)) = self.console.terminal()
        {
            // two rows for the bar of every job, as long names wrap, but no more than half of the terminal
            let bars = (2 * self.jobs.get()).min(rows / 2);
            self.console.show_above(&self.block(&state, rows.saturating_sub(bars + 1), columns));
        }
    }

    /// The headline and as much of the table as there is room for.
    fn block(&self, state: &State, rows: usize, columns: usize) -> String {
        let table = Table::of_sweep(self.sweep, self.grid, self.metric, &state.found);
        let (headings, cells) = table.text();
        let headings: Vec<(&str, bool)> = headings.iter().map(|heading| (heading.as_str(), false)).collect();
        let table = tables::table(&headings, cells);
        let lines = std::iter::once(self.headline(state, self.start.elapsed())).chain(table.lines().map(str::to_owned));
        fitting(&lines.collect::<Vec<_>>(), rows, columns)
    }

    fn headline(&self, state: &State, elapsed: Duration) -> String {
        let (all, failed) = (self.grid.cells.len(), state.failed.iter().filter(|failed| **failed).count());
        let mut text = format!("{} of {all} cells done", state.done);
        if failed > 0 {
            text.push_str(&format!(", {failed} failed"));
        }
        let left = all.saturating_sub(state.done + failed);
        if state.fresh > 0 && left > 0 {
            text.push_str(&format!(", about {} left", rough(elapsed.mul_f64(left as f64 / state.fresh as f64))));
        }
        text
    }

    /// A cell's values on the axes that tell cells apart, and what it came to.
    fn describe(&self, state: &State, cell: usize) -> String {
        let axes = self.sweep.over.iter().zip(&self.grid.cells[cell].values).filter(|(axis, _)| axis.len() > 1);
        let values = axes.map(|(axis, &value): (&Axis, _)| format!("{}={}", axis.name(), axis.labels()[value]));
        let mut text = values.collect::<Vec<_>>().join(" ");
        let measured = measured(self.grid, cell, self.metric, &state.found);
        // a mean comes after what it is over
        if let Some((task, value)) = measured.as_ref().and_then(|values| values.last()) {
            text.push_str(&format!(": {task} {} {}", self.metric.name(), readable::number(*value, 4)));
        }
        text
    }
}

impl Observer for Live<'_> {
    fn made(&self, stage: &str, made: &Made) {
        self.update(|state| {
            let before = state.done;
            if let Some(Stage::Evaluate(_)) = self.grid.pipeline.stages.get(stage)
                // what cannot be read is told at the end
                && let Ok(found) = StageEvaluation::read(stage, &made.artifact, true)
            {
                state.found.insert(found.stage, found.evaluation);
            }
            for &cell in self.cells.get(stage).into_iter().flatten() {
                state.left[cell] = state.left[cell].saturating_sub(1);
                if state.left[cell] > 0 {
                    continue;
                }
                state.done += 1;
                if matches!(made.how, How::UpToDate | How::Pulled) {
                    continue;
                }
                state.fresh += 1;
                if self.console.terminal().is_none() {
                    let (done, all) = (state.done, self.grid.cells.len());
                    self.console.line(&format!("cell {done} of {all} done: {}", self.describe(state, cell)));
                }
            }
            state.done > before
        });
    }

    fn failed(&self, stage: &str) {
        self.update(|state| {
            let cells = self.cells.get(stage).into_iter().flatten();
            cells.for_each(|&cell| state.failed[cell] = true);
            if self.console.terminal().is_none() {
                let failed = state.failed.iter().filter(|failed| **failed).count();
                self.console.line(&format!("{failed} of {} cells failed", self.grid.cells.len()));
            }
            true
        });
    }
}

/// The first line, the headings and the first rows of a table below it, cut to so many rows and columns.
fn fitting(lines: &[String], rows: usize, columns: usize) -> String {
    let shown = if lines.len() <= rows {
        lines.len()
    } else if rows < LEAST_ROWS + 3 {
        1
    } else {
        rows - 1
    };
    // a line as wide as the terminal may wrap
    let cut = |line: &String| line.chars().take(columns.saturating_sub(1)).collect::<String>();
    let mut shown_lines: Vec<String> = lines[..shown].iter().map(cut).collect();
    if shown > 1 && shown < lines.len() {
        shown_lines.push(format!("… {} more rows", lines.len() - shown));
    }
    shown_lines.join("\n")
}

/// A time to the unit that matters.
fn rough(time: Duration) -> String {
    match time.as_secs() {
        seconds @ ..90 => format!("{seconds} s"),
        seconds @ ..5400 => format!("{} min", (seconds + 30) / 60),
        seconds => format!("{} h", (seconds + 1800) / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(count: usize) -> Vec<String> {
        (0..count).map(|line| format!("line {line} ‡±Δ")).collect()
    }

    #[test]
    fn a_table_is_cut_to_the_terminal() {
        assert_eq!(fitting(&lines(3), 3, 80), "line 0 ‡±Δ\nline 1 ‡±Δ\nline 2 ‡±Δ");
        let cut = fitting(&lines(20), 7, 80);
        assert_eq!(cut.lines().count(), 7);
        assert!(cut.ends_with("line 5 ‡±Δ\n… 14 more rows"), "{cut}");
        assert_eq!(fitting(&lines(20), 5, 80), "line 0 ‡±Δ", "too low for a table");
        assert_eq!(fitting(&lines(20), 0, 80), "line 0 ‡±Δ");
        assert_eq!(
            fitting(&lines(2), 9, 9),
            "line 0 ‡\nline 1 ‡",
            "characters, not bytes, and one less than the width"
        );
    }

    #[test]
    fn times_are_rough() {
        let text = |seconds| rough(Duration::from_secs(seconds));
        assert_eq!(
            [text(0), text(89), text(90), text(3600), text(5399), text(9000)],
            ["0 s", "89 s", "2 min", "60 min", "90 min", "3 h"]
        );
    }
}
