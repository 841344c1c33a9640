//! The table of a sweep: its cells, sorted into rows, columns and runs.

use std::collections::HashMap;

use super::{Runs, Table, Variant};
use crate::balance::Balancer;
use crate::metric::{Evaluation, Metric};
use crate::spec::{Axis, Choice, Grid, Stage, Sweep};

/// A number for each task, and after the tasks their mean.
pub type Numbers = Vec<(String, Option<f64>)>;

impl Table {
    /// The table of one metric of a sweep, given what its `Evaluate` stages came to by now. Columns are countries and tasks,
    /// runs are seeds, and the other axes on which cells differ make the rows.
    pub fn of_sweep(sweep: &Sweep, grid: &Grid, metric: Metric, found: &HashMap<String, Evaluation>) -> Self {
        Self::of_cells(sweep, grid, metric, |cell| measured(grid, cell, metric, found))
    }

    /// The same where `measured` gives what a cell came to.
    fn of_cells(sweep: &Sweep, grid: &Grid, metric: Metric, measured: impl Fn(usize) -> Option<Numbers>) -> Self {
        let role = |wanted: fn(&Axis) -> bool| sweep.over.iter().position(wanted);
        let country = role(|axis| matches!(axis, Axis::Country(_)));
        let seed = role(|axis| matches!(axis, Axis::Seed(_)));
        // an axis of one value tells nothing apart
        let varies = |axis: &usize| Some(*axis) != country && Some(*axis) != seed && sweep.over[*axis].len() > 1;
        let row_axes: Vec<usize> = (0..sweep.over.len()).filter(varies).collect();
        let labels: Vec<Vec<String>> = sweep.over.iter().map(Axis::labels).collect();
        let size = |axis: Option<usize>| axis.map_or(1, |axis| sweep.over[axis].len());
        let at = |values: &[usize], axis: Option<usize>| axis.map_or(0, |axis| values[axis]);

        let measured: Vec<_> = (0..grid.cells.len()).map(measured).collect();
        let mut tasks: Vec<String> = Vec::new();
        for (task, _) in measured.iter().flatten().flatten() {
            if !tasks.contains(task) {
                tasks.push(task.clone());
            }
        }
        // the rows in the order of the grid
        let mut keys: Vec<Vec<usize>> = Vec::new();
        let mut runs: Vec<Vec<Runs>> = Vec::new();
        for (cell, measured) in grid.cells.iter().zip(&measured) {
            let key: Vec<usize> = row_axes.iter().map(|&axis| cell.values[axis]).collect();
            let row = keys.iter().position(|known| *known == key).unwrap_or_else(|| {
                keys.push(key);
                runs.push(vec![vec![None; size(seed)]; size(country) * tasks.len()]);
                keys.len() - 1
            });
            for (task, value) in measured.iter().flatten() {
                let task = tasks.iter().position(|known| known == task).unwrap_or(0);
                let column = at(&cell.values, country) * tasks.len() + task;
                runs[row][column][at(&cell.values, seed)] = *value;
            }
        }
        let columns = (0..size(country)).flat_map(|c| {
            let name = country.map_or_else(String::new, |axis| labels[axis][c].clone());
            tasks.iter().map(move |task| (name.clone(), task.clone()))
        });
        let with = |key: &[usize], choices: &[Choice]| -> Option<usize> {
            if choices.is_empty() {
                return None;
            }
            let mut key = key.to_vec();
            for (value, &axis) in key.iter_mut().zip(&row_axes) {
                if let Some(chosen) = choices.iter().find_map(|choice| sweep.over[axis].position(choice)) {
                    *value = chosen;
                }
            }
            keys.iter().position(|known| *known == key)
        };
        let variants: Vec<Variant> = keys
            .iter()
            .zip(runs)
            .map(|(key, columns)| Variant {
                class: class(sweep, &row_axes, key).map(str::to_owned),
                values: row_axes.iter().zip(key).map(|(&axis, &value)| labels[axis][value].clone()).collect(),
                columns,
                baseline: with(key, &sweep.baseline),
                single_task: with(key, &sweep.single_task),
            })
            .collect();
        let axes = row_axes.iter().map(|&axis| sweep.over[axis].name().to_owned()).collect();
        Self::new(metric, axes, columns.collect(), &variants, sweep.test.level())
    }
}

/// What a cell of a sweep came to by one metric; nothing while no stage of it has measured that.
pub fn measured(grid: &Grid, cell: usize, metric: Metric, found: &HashMap<String, Evaluation>) -> Option<Numbers> {
    let measures = |stage: &&String| matches!(grid.pipeline.stages.get(*stage), Some(Stage::Evaluate(stage)) if stage.metrics.contains(&metric));
    let evaluation = grid.cells[cell].stages.values().filter(measures).find_map(|stage| found.get(stage))?;
    let values = evaluation.values.iter().filter(|value| value.metric == metric.name());
    Some(values.map(|value| (value.task.clone(), value.value)).collect())
}

/// The class of a row's balancer.
fn class(sweep: &Sweep, row_axes: &[usize], key: &[usize]) -> Option<&'static str> {
    let of_axis = |(&axis, &value): (&usize, &usize)| match &sweep.over[axis] {
        Axis::Balancer(values) => Some(values[value].clone()),
        _ => None,
    };
    let balancer: Balancer = row_axes.iter().zip(key).find_map(of_axis)?;
    (1..8).find_map(|tasks| balancer.build(tasks).ok()).map(|method| method.class())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::loss::{Famo, Ls};
    use crate::comparison::{Entry, Row};
    use crate::data::Country;
    use crate::metric::MEAN;
    use crate::spec::{Cell, Pipeline, Significance};

    /// Two countries, two balancers, three seeds.
    fn table(metric: Metric, value: impl Fn(&[usize], usize) -> Option<f64>) -> Table {
        let sweep = Sweep {
            pipeline: String::new(),
            over: vec![
                Axis::Country(vec![Country::ES, Country::US]),
                Axis::Balancer(vec![Ls::default().into(), Famo::default().into()]),
                Axis::Seed(vec![1, 2, 3]),
            ],
            baseline: vec![Choice::Balancer(Ls::default().into())],
            single_task: vec![Choice::Balancer(Ls::default().into())],
            only: Vec::new(),
            test: Significance::PairedT(0.05),
        };
        let cells: Vec<Cell> =
            (0..12).map(|at| Cell { values: vec![at / 6, at / 3 % 2, at % 3], stages: Default::default() }).collect();
        let pipeline =
            Pipeline { name: "p".into(), stages: Default::default(), golden: None, resources: Default::default() };
        let grid = Grid { cells, pipeline };
        Table::of_cells(&sweep, &grid, metric, |cell| {
            let values = &grid.cells[cell].values;
            Some(vec![("click".to_owned(), value(values, 0)), (MEAN.to_owned(), value(values, 1))])
        })
    }

    #[test]
    fn rows_are_compared_over_seeds() {
        // FAMO gains 0.01 for every seed on ES, and something else for each on US
        let table = table(Metric::Auc, |values, _| {
            let gain = if values[1] == 0 { 0.0 } else { [0.01, [0.03, -0.02, 0.001][values[2]]][values[0]] };
            Some(0.5 + 0.1 * values[2] as f64 + gain)
        });
        assert_eq!(table.columns.len(), 4);
        let [ls, famo] = &table.rows[..] else { panic!("two rows") };
        assert!(ls.baseline && !famo.baseline && ls.class.as_deref() == Some("loss"));
        let entry = |row: &Row, column: usize| -> Entry { row.entries[column].clone().unwrap() };
        assert!((entry(ls, 0).mean - 0.6).abs() < 1e-12 && (entry(ls, 0).deviation.unwrap() - 0.1).abs() < 1e-12);
        assert!(entry(famo, 0).significant && entry(famo, 0).best && !entry(ls, 0).best);
        assert!(!entry(famo, 2).significant && entry(famo, 2).p.unwrap() > 0.5);
        let gain = 100.0 * (0.01 + 0.011 / 3.0) / 0.6 / 2.0;
        assert!((famo.delta_m.unwrap() - gain).abs() < 1e-9 && ls.delta_m == Some(0.0));
        insta::assert_snapshot!(table.markdown(), @r"
        | class | balancer | ES click | ES mean | US click | US mean | Δm% | n |
        |---|---|---|---|---|---|---|---|
        | loss | Ls | 0.6000 ±0.1000 | 0.6000 ±0.1000 | 0.6000 ±0.1000 | 0.6000 ±0.1000 | +0.00 | 3 |
        | loss | Famo | **0.6100**‡ ±0.1000 | **0.6100**‡ ±0.1000 | **0.6037** ±0.0879 | **0.6037** ±0.0879 | +1.14 | 3 |

        Auc: mean over seeds ± standard deviation, n seeds; best of a column marked; ‡ better than the baseline, paired t-test over seeds, p < 0.05; Δm% mean relative gain over single-task
        ");
    }

    #[test]
    fn of_a_ratio_the_one_nearest_to_1_is_best() {
        // LS promises 20 % too much on ES and 20 % too little on US, FAMO 10 % the other way round
        let table = table(Metric::CalibrationRatio, |values, _| {
            let [ls, famo] = [[1.2, 0.9], [0.8, 1.1]][values[0]];
            Some([ls, famo][values[1]] + 0.001 * values[2] as f64)
        });
        let [ls, famo] = &table.rows[..] else { panic!("two rows") };
        for column in 0..4 {
            let (ls, famo) = (ls.entries[column].as_ref().unwrap(), famo.entries[column].as_ref().unwrap());
            assert!(famo.best && famo.significant && !ls.best, "{column}: {famo:?}");
            assert!(famo.difference.is_some_and(|closer| closer.mean < -0.09), "{column}: {famo:?}");
        }
        // mean distances of 0.201 and 0.199 come down to 0.099 and 0.101
        let gain = 100.0 * ((0.201 - 0.099) / 0.201 + (0.199 - 0.101) / 0.199) / 2.0;
        assert!((famo.delta_m.unwrap() - gain).abs() < 1e-9, "{:?}", famo.delta_m);
    }

    #[test]
    fn missing_cells_leave_gaps() {
        let table = table(Metric::Auc, |values, task| (values[0] == 0 && values[2] < 2 && task == 0).then_some(0.5));
        let entries = &table.rows[0].entries;
        assert_eq!(entries[0].as_ref().map(|entry| entry.n), Some(2));
        assert!(entries[1..].iter().all(Option::is_none));
        assert!(table.csv().lines().count() == 3, "{}", table.csv());
    }
}
