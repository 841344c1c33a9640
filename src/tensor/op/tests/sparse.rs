//! The operations of sparse mixtures of experts. What is sparse here is computed densely there: all experts on all samples,
//! times a mask that is made naively.

use super::*;
use crate::tensor::kernels::{GATE_EPS, RMS_EPS, RouteRule};
use crate::tensor::op::{Bank, project, rms_norm, route, routed, swiglu};

const RULE: RouteRule = RouteRule { experts: 6, top_k: 3, groups: 1, groups_kept: 1, normalise: true, scaling: 1.0 };

/// The experts of one sample, ascending: all are sorted by falling score, of equals the first one first.
fn naive_choice(rule: &RouteRule, logits: &[f32], bias: &[f32]) -> Vec<usize> {
    let score = |j: usize| 1.0 / (1.0 + (-f64::from(logits[j])).exp()) as f32 + bias[j];
    let falling = |of: &dyn Fn(usize) -> f32, from: Vec<usize>| {
        let mut sorted = from;
        sorted.sort_by(|&a, &b| of(b).total_cmp(&of(a)));
        sorted
    };
    let size = rule.experts / rule.groups;
    let members = |group: usize| (group * size..(group + 1) * size).collect::<Vec<_>>();
    let of_group = |group: usize| falling(&score, members(group)).into_iter().take(2).map(score).sum::<f32>();
    let groups = falling(&of_group, (0..rule.groups).collect());
    let mut allowed: Vec<usize> = groups[..rule.groups_kept].iter().flat_map(|&group| members(group)).collect();
    allowed.sort_unstable();
    let mut chosen = falling(&score, allowed)[..rule.top_k].to_vec();
    chosen.sort_unstable();
    chosen
}

fn naive_choices(rule: &RouteRule, logits: &[f32], bias: &[f32]) -> Vec<Vec<usize>> {
    logits.chunks_exact(rule.experts).map(|logits| naive_choice(rule, logits, bias)).collect()
}

/// B×R: spreads B×k values over the chosen experts.
fn spread(rule: &RouteRule, chosen: &[Vec<usize>], values: impl Fn(usize) -> f32) -> Vec<f32> {
    let mut dense = vec![0.0; chosen.len() * rule.experts];
    for (choice, (row, expert)) in
        chosen.iter().enumerate().flat_map(|(row, of_row)| of_row.iter().map(move |e| (row, e))).enumerate()
    {
        dense[row * rule.experts + expert] = values(choice);
    }
    dense
}

/// The chosen experts' values of B×R.
fn pick(rule: &RouteRule, chosen: &[Vec<usize>], dense: &[f32]) -> Vec<f32> {
    let of_row = |(row, of_row): (usize, &Vec<usize>)| {
        of_row.iter().map(move |e| dense[row * rule.experts + e]).collect::<Vec<_>>()
    };
    chosen.iter().enumerate().flat_map(of_row).collect()
}

type Traced = Tensor<(usize, usize), f32, Cpu, OwnedTape<f32, Cpu>>;

/// Gate values of all experts, 0 where they are not chosen.
fn dense_gates(rule: &RouteRule, logits: &Matrix, mask: &Matrix) -> Traced {
    let masked = || logits.leaky_trace().sigmoid() * mask.clone();
    let gates = if rule.normalise && rule.top_k > 1 {
        let total = masked().sum::<_, Axis<1>>() + GATE_EPS;
        masked() / total.broadcast_like::<_, Axis<1>>(logits)
    } else {
        masked()
    };
    gates * rule.scaling
}

fn project_check<D: Kernels>(device: &D) {
    let (batch, inputs, outputs) = (19, 7, 5);
    let (x, w, c) = (random(30, batch * inputs), random(31, inputs * outputs), random(32, batch * outputs));
    let (y, g) = ours(
        device,
        &[&x, &w],
        &[],
        |tape, p| project(tape, parameter(tape, p[0], (batch, inputs)), p[1], outputs),
        &c,
    );
    let dev = Cpu::default();
    let (xt, wt) = (matrix(&dev, &x, batch, inputs), matrix(&dev, &w, inputs, outputs));
    let out = xt.leaky_trace().matmul(wt.clone());
    assert_close("project", &y, &out.as_vec());
    let grads = (out * matrix(&dev, &c, batch, outputs)).sum().backward();
    assert_close("project x", &g[0], &grads.get(&xt).as_vec());
    assert_close("project w", &g[1], &grads.get(&wt).as_vec());
}

fn rms_norm_check<D: Kernels>(device: &D) {
    let (batch, cols) = (150, 37);
    let mut x = random(36, batch * cols);
    x[..cols].iter_mut().for_each(|x| *x *= 1e-3); // the addend counts
    let (gain, c) = (random(37, cols), random(38, batch * cols));
    let (y, g) =
        ours(device, &[&x, &gain], &[], |tape, p| rms_norm(tape, parameter(tape, p[0], (batch, cols)), p[1]), &c);
    let dev = Cpu::default();
    let xt = matrix(&dev, &x, batch, cols);
    let gt: Tensor<(usize,), f32, Cpu> = dev.tensor_from_vec(gain, (cols,));
    let root = (xt.leaky_trace().square().mean::<_, Axis<1>>() + RMS_EPS).sqrt();
    let out =
        xt.leaky_trace() / root.broadcast_like::<_, Axis<1>>(&xt) * gt.leaky_trace().broadcast_like::<_, Axis<0>>(&xt);
    assert_close("rms norm", &y, &out.as_vec());
    let grads = (out * matrix(&dev, &c, batch, cols)).sum().backward();
    let (ours, theirs) = (&g[0], grads.get(&xt).as_vec());
    // row by row: the first one's gradient is far larger than the others'
    for (ours, theirs) in ours.chunks(cols).zip(theirs.chunks(cols)) {
        assert_close("rms norm x", ours, theirs);
    }
    assert_close("rms norm gain", &g[1], &grads.get(&gt).as_vec());
}

fn swiglu_check<D: Kernels>(device: &D) {
    let (batch, cols) = (70, 21);
    let x: Vec<f32> = random(39, batch * 2 * cols).iter().map(|x| x * 8.0).collect();
    let c = random(40, batch * cols);
    let (y, g) = ours(device, &[&x], &[], |tape, p| swiglu(tape, parameter(tape, p[0], (batch, 2 * cols)), cols), &c);
    let dev = Cpu::default();
    let half = |half: usize| -> Vec<f32> {
        x.chunks_exact(2 * cols).flat_map(|row| row[half * cols..(half + 1) * cols].to_vec()).collect()
    };
    let (gt, ut) = (matrix(&dev, &half(0), batch, cols), matrix(&dev, &half(1), batch, cols));
    let out = gt.leaky_trace() * gt.leaky_trace().sigmoid() * ut.leaky_trace();
    assert_close("swiglu", &y, &out.as_vec());
    let grads = (out * matrix(&dev, &c, batch, cols)).sum().backward();
    let (dg, du) = (grads.get(&gt).as_vec(), grads.get(&ut).as_vec());
    let both: Vec<f32> = dg.chunks(cols).zip(du.chunks(cols)).flat_map(|(g, u)| [g, u].concat()).collect();
    assert_close("swiglu x", &g[0], &both);
}

/// Logits and a bias; some logits are equal, for ties. (They are not symmetric: σ(z) + σ(−z) is 1 for all z but for
/// rounding, so that sums over groups would be tied in exact arithmetic only.)
fn router_inputs(rule: &RouteRule, batch: usize) -> (Vec<f32>, Vec<f32>) {
    let logits = random(41, batch * rule.experts).iter().map(|z| (z * 6.0).round() / 2.0 + 0.2).collect();
    (logits, random(42, rule.experts).iter().map(|b| b * 0.1).collect())
}

fn route_check<D: Kernels>(device: &D, rule: RouteRule, tied: bool) {
    let batch = 130;
    let (logits, mut bias) = router_inputs(&rule, batch);
    if tied {
        bias.fill(0.0);
    }
    let c = random(43, batch * rule.top_k);
    let (gates, g) = ours(
        device,
        &[&logits, &bias],
        &[Kind::Weight, Kind::Statistic],
        |tape, p| route(tape, parameter(tape, p[0], (batch, rule.experts)), p[1], rule, 0.0).gates,
        &c,
    );
    let dev = Cpu::default();
    let chosen = naive_choices(&rule, &logits, &bias);
    let mask = matrix(&dev, &spread(&rule, &chosen, |_| 1.0), batch, rule.experts);
    let zt = matrix(&dev, &logits, batch, rule.experts);
    let dense = dense_gates(&rule, &zt, &mask);
    assert_close("gates", &gates, &pick(&rule, &chosen, &dense.as_vec()));
    let c = matrix(&dev, &spread(&rule, &chosen, |choice| c[choice]), batch, rule.experts);
    let grads = (dense * c).sum().backward();
    assert_close("gates z", &g[0], &grads.get(&zt).as_vec());
    assert!(g[1].is_empty(), "the correction bias has no gradient");
}

/// Router and experts against all experts on all samples.
fn routed_check<D: Kernels>(device: &D, rule: RouteRule, batch: usize, mut bias: Vec<f32>) {
    let (experts, width, hidden) = (rule.experts, 7, 5);
    let area = width * hidden;
    bias.resize(experts, 0.0);
    let logits = random(44, batch * experts);
    let (x, c) = (random(45, batch * width), random(46, batch * width));
    let (up, down) = (random(47, experts * 2 * area), random(48, experts * area));
    let (y, g) = ours(
        device,
        &[&x, &logits, &up, &down, &bias],
        &[],
        |tape, p| {
            let routing = route(tape, parameter(tape, p[1], (batch, experts)), p[4], rule, 0.0);
            routed(
                tape,
                parameter(tape, p[0], (batch, width)),
                &routing,
                Bank { experts, hidden, up: p[2], down: p[3] },
            )
        },
        &c,
    );
    let dev = Cpu::default();
    let (xt, zt) = (matrix(&dev, &x, batch, width), matrix(&dev, &logits, batch, experts));
    let mask = spread(&rule, &naive_choices(&rule, &logits, &bias), |_| 1.0);
    let gates = dense_gates(&rule, &zt, &matrix(&dev, &mask, batch, experts));
    // columns of g and of u apart
    let columns = |e: usize, half: usize| -> Vec<f32> {
        let rows = up[e * 2 * area..(e + 1) * 2 * area].chunks_exact(2 * hidden);
        rows.flat_map(|row| row[half * hidden..(half + 1) * hidden].to_vec()).collect()
    };
    let weights: Vec<[Matrix; 3]> = (0..experts)
        .map(|e| {
            let down = matrix(&dev, &down[e * area..(e + 1) * area], hidden, width);
            [matrix(&dev, &columns(e, 0), width, hidden), matrix(&dev, &columns(e, 1), width, hidden), down]
        })
        .collect();
    let mut out = (xt.leaky_trace() * 0.0).matmul(dev.tensor_from_vec(vec![0.0; width * width], (width, width)));
    for (e, [gate, up, down]) in weights.iter().enumerate() {
        let projected = || xt.leaky_trace().matmul(gate.clone());
        let units = projected() * projected().sigmoid() * xt.leaky_trace().matmul(up.clone());
        let mut only = vec![0.0; experts * width];
        only[e * width..(e + 1) * width].fill(1.0);
        let gate = gates.retaped::<OwnedTape<f32, Cpu>>().matmul(matrix(&dev, &only, experts, width));
        out = out + units.matmul(down.clone()) * gate;
    }
    assert_close("routed", &y, &out.as_vec());
    // brings the tape of the gates in
    let out = out + (gates * 0.0).matmul(matrix(&dev, &vec![0.0; experts * width], experts, width));
    let grads = (out * matrix(&dev, &c, batch, width)).sum().backward();
    assert_close("routed x", &g[0], &grads.get(&xt).as_vec());
    assert_close("routed z", &g[1], &grads.get(&zt).as_vec());
    for (e, [gate, up, down]) in weights.iter().enumerate() {
        let halves = (grads.get(gate).as_vec(), grads.get(up).as_vec());
        let both: Vec<f32> =
            halves.0.chunks(hidden).zip(halves.1.chunks(hidden)).flat_map(|(g, u)| [g, u].concat()).collect();
        assert_close("routed up", &g[2][e * 2 * area..(e + 1) * 2 * area], &both);
        assert_close("routed down", &g[3][e * area..(e + 1) * area], &grads.get(down).as_vec());
    }
}

/// The bias goes up where an expert has fewer samples than the mean, down where it has more, and stays where it has as
/// many; nothing moves when the pass is discarded, or in evaluation.
fn balance_check<D: Kernels>(device: &D) {
    let rule = RouteRule { experts: 4, top_k: 2, ..RULE };
    // loads 4, 3, 2 and 3: three samples is the mean
    let logits = [[4.0, 3.0, 2.0, 1.0], [4.0, 1.0, 2.0, 3.0], [4.0, 3.0, 2.0, 1.0], [1.0, 3.0, 2.0, 4.0]];
    let logits: Vec<f32> = [logits.concat(), vec![4.0, 1.0, 3.0, 2.0], vec![1.0, 2.0, 3.0, 4.0]].concat();
    let moved = |mode: Mode, apply: bool| {
        let mut params = Params::new(device);
        let bias = params.add("bias".into(), Kind::Statistic, &[0.5, 0.5, 0.5, 0.5]);
        let workspace = Workspace::new(device);
        let tape = Tape::new(&params, &workspace, mode);
        route(&tape, tape.constant(device.upload(&logits), (6, 4)), bias, rule, 0.125);
        let statistics = tape.finish();
        let violation = statistics.max_violation(device);
        if apply {
            statistics.apply(&mut params, &workspace);
        } else {
            statistics.discard(&workspace);
        }
        (device.download(&params[bias].value), violation)
    };
    let train = Mode::Train { key: Key::of_step(0, 0) };
    let (moved_once, violation) = moved(train, true);
    assert_eq!(moved_once, [0.375, 0.5, 0.625, 0.5]);
    assert!((violation.unwrap() - 1.0 / 3.0).abs() < 1e-12);
    assert_eq!(moved(train, false).0, [0.5; 4]);
    assert_eq!(moved(Mode::Eval, true), (vec![0.5; 4], None));
}

pub(super) fn suite<D: Kernels>(device: &D) {
    project_check(device);
    rms_norm_check(device);
    swiglu_check(device);
    let grouped = RouteRule { experts: 12, top_k: 4, groups: 4, groups_kept: 2, ..RULE };
    for rule in [
        RULE,
        RouteRule { normalise: false, scaling: 2.5, ..RULE },
        RouteRule { top_k: 1, ..RULE },
        RouteRule { top_k: 6, scaling: 0.5, ..RULE },
        grouped,
        RouteRule { top_k: 6, ..grouped },
        RouteRule { experts: 4, top_k: 2, groups: 2, ..RULE },
    ] {
        route_check(device, rule, false);
        route_check(device, rule, true);
    }
    routed_check(device, RULE, 33, vec![]);
    routed_check(device, RouteRule { normalise: false, scaling: 1.5, ..RULE }, 33, vec![]);
    routed_check(device, grouped, 50, vec![0.3]);
    // experts without samples
    routed_check(device, RULE, 40, vec![-9.0, 0.0, 9.0, -9.0]);
    routed_check(device, RouteRule { top_k: 1, ..RULE }, 3, vec![9.0]);
    // experts whose samples are cut into several pieces
    routed_check(device, RouteRule { experts: 3, top_k: 2, ..RULE }, 2600, vec![9.0]);
    balance_check(device);
}
