//! Optimizer steps, and what balancers ask of gradients.

use super::{Gpu, at, flag, real, run, sent};
use crate::tensor::cpu::map_columns as map_on_host;
use crate::tensor::kernels::{
    AdamStep, ColumnMap, Held, MissedSteps, SQUARES_EPS, StepBounds, TaskGradients, WaitingTable,
};

/// Terms of a weighted sum that one kernel takes.
const TERMS: usize = 8;
/// Threads that share a sum over a parameter's elements.
const THREADS: usize = 1 << 14;
/// Tasks whose inner products one kernel forms at once.
const TOGETHER: usize = 4;

/// What is kept from step to step.
pub struct Kept<G: Gpu> {
    /// Sizes and root corrections of Adam's steps from the first.
    steps: Vec<[f32; 2]>,
    /// The same on the GPU, with room for more.
    there: Option<G::Memory<f32>>,
}

impl<G: Gpu> Default for Kept<G> {
    fn default() -> Self {
        Self { steps: Vec::new(), there: None }
    }
}

impl<G: Gpu> Kept<G> {
    /// Brings those steps to the GPU that are not there.
    fn steps(&mut self, gpu: &G, steps: &[AdamStep]) -> u64 {
        let known = self.steps.len();
        let of = |step: &AdamStep| [step.step_size, step.root_correction2];
        if known > steps.len() || known.checked_sub(1).is_some_and(|last| of(&steps[last]) != self.steps[last]) {
            *self = Self::default();
        }
        let known = self.steps.len();
        self.steps.extend(steps[known..].iter().map(of));
        let words: &[f32] = bytemuck::cast_slice(&self.steps);
        match &mut self.there {
            Some(there) if G::length(there) >= words.len() => {
                if known < self.steps.len() {
                    gpu.send(&words[2 * known..], there, 2 * known);
                }
            }
            there => {
                let mut more = gpu.allocate((2 * words.len()).max(1 << 10));
                gpu.send(words, &mut more, 0);
                *there = Some(more);
            }
        }
        self.there.as_ref().map_or(0, |there| G::address(there))
    }
}

/// Where kernels learn which rows of a gradient belong to which of a parameter of this length, and a row's width.
pub(super) fn places<G: Gpu>(held: Held<G>, len: usize) -> (u64, u64) {
    match held {
        Held::All => (0, 1),
        Held::Rows { width, ids } => (ids.places(len / width), width as u64),
    }
}

fn step_numbers(step: &AdamStep) -> [u64; 7] {
    let AdamStep { step_size, beta1, beta2, root_correction2, eps, weight_decay, keep, .. } = *step;
    [step_size, beta1, beta2, root_correction2, eps, weight_decay, keep].map(real)
}

/// A weighted sum of gradients as one kernel takes it: the number of terms, then weight and address of each. Many terms
/// are summed first, into memory that must outlive the kernel's launch.
fn terms<G: Gpu>(gpu: &G, gradients: &[(f32, &G::Memory<f32>)]) -> (Vec<u64>, Option<G::Memory<f32>>) {
    let pairs = |gradients: &[(f32, &G::Memory<f32>)]| -> Vec<u64> {
        let count = gradients.len() as u64;
        std::iter::once(count).chain(gradients.iter().flat_map(|(w, g)| [real(*w), at::<G>(g)])).collect()
    };
    if gradients.len() <= TERMS {
        return (pairs(gradients), None);
    }
    let sum: G::Memory<f32> = gpu.allocate(G::length(gradients[0].1));
    for (round, some) in gradients.chunks(TERMS).enumerate() {
        let arguments = [&[at::<G>(&sum), flag(round > 0)][..], &pairs(some)].concat();
        run(gpu, "weighted_sum", G::length(&sum), &arguments);
    }
    (pairs(&[(1.0, &sum)]), Some(sum))
}

/// One step of a parameter.
pub(super) fn adam<G: Gpu>(
    gpu: &G,
    step: &AdamStep,
    held: Held<G>,
    value: &mut G::Memory<f32>,
    (m, v): (&mut G::Memory<f32>, &mut G::Memory<f32>),
    gradients: &[(f32, &G::Memory<f32>)],
) {
    let (of, width) = places(held, G::length(value));
    let (sum, _memory) = terms(gpu, gradients);
    let buffers = [at::<G>(value), at::<G>(m), at::<G>(v), of, width];
    run(gpu, "adam", G::length(value), &[&buffers[..], &step_numbers(step), &sum].concat());
}

/// One step of the batch's rows.
pub(super) fn batch_rows<G: Gpu>(
    gpu: &G,
    step: &AdamStep,
    ids: &super::Ids<G>,
    table: WaitingTable<G>,
    gradients: &[(f32, &G::Memory<f32>)],
) {
    let WaitingTable { width, value, m, v, taken } = table;
    let (sum, _memory) = terms(gpu, gradients);
    let buffers = [at::<G>(value), at::<G>(m), at::<G>(v), ids.rows(), width as u64];
    run(gpu, "adam_rows", ids.host.len() * width, &[&buffers[..], &step_numbers(step), &sum].concat());
    ids.host.rows.iter().for_each(|&row| taken[row as usize] = step.index);
}

/// Takes the steps that rows (of the batch, or all) have missed.
pub(super) fn catch_up<G: Gpu>(gpu: &G, missed: &MissedSteps, ids: Option<&super::Ids<G>>, table: WaitingTable<G>) {
    let WaitingTable { width, value, m, v, taken } = table;
    let now = missed.steps.len() as u32;
    // a row that was never touched has zero moments and stays where it is
    let late = |row: &u32| (1..now).contains(&taken[*row as usize]);
    let rows: Vec<u32> = match ids {
        Some(ids) => ids.host.rows.iter().copied().filter(late).collect(),
        None => (0..taken.len() as u32).filter(late).collect(),
    };
    let Some(last) = missed.steps.last().filter(|_| !rows.is_empty()) else { return };
    let from: Vec<u32> = rows.iter().map(|&row| taken[row as usize]).collect();
    let words = sent(gpu, &[&rows[..], &from].concat());
    let steps = gpu.kept().borrow_mut().steps(gpu, missed.steps);
    let (these, those) = (G::address(&words), G::address(&words) + 4 * rows.len() as u64);
    let buffers = [at::<G>(value), at::<G>(m), at::<G>(v), these, width as u64];
    let window = missed.window.min(u32::MAX as usize) as u64;
    let arguments = [&buffers[..], &step_numbers(last), &[those, steps, u64::from(now), window]].concat();
    run(gpu, "adam_missed", rows.len() * width, &arguments);
    rows.iter().for_each(|&row| taken[row as usize] = now);
}

/// One step, shortened to the bounds.
pub(super) fn clipped<G: Gpu>(
    gpu: &G,
    step: &AdamStep,
    bounds: StepBounds,
    held: Held<G>,
    value: &mut G::Memory<f32>,
    (m, v): (&mut G::Memory<f32>, &mut G::Memory<f32>),
    gradients: &[(f32, &G::Memory<f32>)],
) {
    let len = G::length(value);
    let (of, width) = places(held, len);
    let (sum, _memory) = terms(gpu, gradients);
    let mut limits: G::Memory<f32> = gpu.allocate(len);
    let buffers = [at::<G>(value), at::<G>(m), at::<G>(v)];
    let numbers = [at::<G>(&limits), real(bounds.relative), real(bounds.absolute)];
    let arguments = [&buffers[..], &[of, width], &step_numbers(step), &sum[..1], &numbers, &sum[1..]].concat();
    run(gpu, "clip_limits", len, &arguments);
    for threads in [THREADS, 128, 1] {
        let len = G::length(&limits);
        if len > threads {
            let fewer = gpu.allocate(threads);
            run(gpu, "smallest", threads, &[at::<G>(&limits), at::<G>(&fewer), len as u64]);
            limits = fewer;
        }
    }
    run(gpu, "clip_step", len, &[&buffers[..], &[at::<G>(&limits)], &step_numbers(step)].concat());
}

/// Inner products of the gradients of K tasks over some parameters.
pub(super) fn gram<G: Gpu>(gpu: &G, tasks: usize, parameters: &[Vec<Option<&G::Memory<f32>>>]) -> Vec<f64> {
    let pairs: Vec<(usize, usize)> = (0..tasks).flat_map(|i| (i..tasks).map(move |j| (i, j))).collect();
    let parts: G::Memory<f64> = gpu.allocate(pairs.len() * THREADS);
    run(gpu, "clear_doubles", pairs.len() * THREADS, &[G::address(&parts)]);
    for gradients in parameters {
        match gradients.iter().copied().collect::<Option<Vec<_>>>() {
            Some(all) if tasks <= TOGETHER => {
                let len = all.first().map_or(0, |gradient| G::length(gradient));
                let numbers = [G::address(&parts), len as u64, tasks as u64, THREADS as u64];
                let addresses: Vec<u64> = all.into_iter().map(at::<G>).collect();
                run(gpu, "gram_parts", len.min(THREADS), &[&numbers[..], &addresses].concat());
            }
            _ => {
                for (pair, &(i, j)) in pairs.iter().enumerate() {
                    if let (Some(x), Some(y)) = (gradients[i], gradients[j]) {
                        let to = G::address(&parts) + 8 * (pair * THREADS) as u64;
                        let len = G::length(x);
                        run(gpu, "dot_parts", len.min(THREADS), &[to, at::<G>(x), at::<G>(y), len as u64]);
                    }
                }
            }
        }
    }
    let sums = sum_rows(gpu, &parts, pairs.len());
    let mut gram = vec![0.0; tasks * tasks];
    for ((i, j), sum) in pairs.into_iter().zip(sums) {
        gram[i * tasks + j] = sum;
        gram[j * tasks + i] = sum;
    }
    gram
}

/// The sums of this many rows of [`THREADS`] doubles, on the host.
fn sum_rows<G: Gpu>(gpu: &G, parts: &G::Memory<f64>, rows: usize) -> Vec<f64> {
    const COLS: usize = 128;
    let cut: G::Memory<f64> = gpu.allocate(rows * THREADS / COLS);
    run(gpu, "sum_double_rows", rows * THREADS / COLS, &[G::address(parts), G::address(&cut), COLS as u64]);
    let sums: G::Memory<f64> = gpu.allocate(rows);
    run(gpu, "sum_double_rows", rows, &[G::address(&cut), G::address(&sums), (THREADS / COLS) as u64]);
    gpu.fetch(&sums)
}

/// The inner products of the tasks' updates.
pub(super) fn add_update_gram<G: Gpu>(
    gpu: &G,
    step: &AdamStep,
    held: Held<G>,
    (m, v): (&G::Memory<f32>, &G::Memory<f32>),
    gradients: &TaskGradients<G>,
    gram_sums: &mut [f64],
) {
    let len = G::length(m);
    let (of, width) = places(held, len);
    let update = |gradient: &Option<&G::Memory<f32>>| -> G::Memory<f32> {
        let out = gpu.allocate(len);
        let buffers = [at::<G>(m), at::<G>(v), of, width];
        let ends = [gradient.map_or(0, at::<G>), at::<G>(&out)];
        run(gpu, "update_of", len, &[&buffers[..], &step_numbers(step), &ends].concat());
        out
    };
    let updates: Vec<_> = gradients.iter().map(update).collect();
    let products = gram(gpu, gradients.len(), &[updates.iter().map(Some).collect()]);
    gram_sums.iter_mut().zip(products).for_each(|(sum, product)| *sum += product);
}

/// One step by the weighted sum of the tasks' updates.
pub(super) fn by_task<G: Gpu>(
    gpu: &G,
    step: &AdamStep,
    held: Held<G>,
    value: &mut G::Memory<f32>,
    (m, v): (&mut G::Memory<f32>, &mut G::Memory<f32>),
    gradients: &TaskGradients<G>,
    weights: &[f32],
) {
    let (of, width) = places(held, G::length(value));
    assert!(13 + 2 * gradients.len() <= super::ARGUMENTS, "as many tasks as a kernel takes");
    let terms = gradients.iter().zip(weights).flat_map(|(gradient, w)| [real(*w), gradient.map_or(0, at::<G>)]);
    let terms: Vec<u64> = std::iter::once(gradients.len() as u64).chain(terms).collect();
    let buffers = [at::<G>(value), at::<G>(m), at::<G>(v), of, width];
    run(gpu, "adam_by_task", G::length(value), &[&buffers[..], &step_numbers(step), &terms].concat());
}

/// Adds a gradient's squares to their sums, and gives `Σ g²/√(S + ε)`.
pub(super) fn excess<G: Gpu>(gpu: &G, held: Held<G>, gradient: &G::Memory<f32>, squares: &mut G::Memory<f32>) -> f64 {
    let (rows, width) = match held {
        Held::All => (0, 1),
        Held::Rows { width, ids } => (ids.rows(), width as u64),
    };
    let len = G::length(gradient);
    let parts: G::Memory<f64> = gpu.allocate(len.min(THREADS));
    let buffers = [at::<G>(squares), at::<G>(gradient), rows, width, G::address(&parts)];
    run(gpu, "excess_parts", len.min(THREADS), &[&buffers[..], &[len as u64, real(SQUARES_EPS)]].concat());
    super::total(gpu, &parts)
}

/// A function of the tasks' entries at each coordinate is the balancer's and runs on the host.
pub(super) fn map_columns<G: Gpu>(gpu: &G, columns: &[&G::Memory<f32>], map: ColumnMap, out: &mut G::Memory<f32>) {
    let columns: Vec<Vec<f32>> = columns.iter().map(|column| gpu.fetch(column)).collect();
    let mut mapped = vec![0.0; G::length(out)];
    let columns: Vec<&[f32]> = columns.iter().map(Vec::as_slice).collect();
    map_on_host(&columns, map, &mut mapped);
    gpu.send(&mapped, out, 0);
}
