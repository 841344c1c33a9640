//! Every pull-back against dfdx's autodiff: the same formula written with dfdx's operations, differentiated by dfdx.
//! Each check is a function of the device, so that every device runs the same suite.

mod sparse;

use std::rc::Rc;

use dfdx::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::{
    Candidates, FieldMaps, Norm, NumericToken, add, bank_linear, bce, embed, fields_linear, mean_token, mix,
    mixture_logits, norm_relu_dropout, numeric_token, parameter, prefix_rows, product_logits, relu_dropout, row_dots,
    shared_linear, stack,
};
use crate::tensor::kernels::NORM_EPS;
use crate::tensor::random::drop_threshold;
use crate::tensor::{
    FieldIds, FieldLayout, Gradients, Kernels, Key, Kind, Mode, ParamId, Params, Route, Tape, Var, Workspace,
    element_hash,
};

type Matrix = Tensor<(usize, usize), f32, Cpu>;

fn random(seed: u64, len: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| rng.random_range(-1.0..1.0f32)).collect()
}

fn matrix(dev: &Cpu, values: &[f32], rows: usize, cols: usize) -> Matrix {
    dev.tensor_from_vec(values.to_vec(), (rows, cols))
}

fn assert_close(what: &str, ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len(), "{what}: lengths");
    let scale = theirs.iter().fold(1e-3f32, |a, b| a.max(b.abs()));
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() <= 2e-5 * scale, "{what}[{i}]: {a} against dfdx's {b} (scale {scale})");
    }
}

/// Runs one operation on parameters with these values, pulls a random cotangent back, and returns the output and the
/// gradient of every parameter. The pull-back runs twice: a tape must be replayable.
fn ours<D: Kernels, S: Shape>(
    device: &D,
    values: &[&[f32]],
    kinds: &[Kind],
    build: impl Fn(&Tape<D>, &[ParamId]) -> Var<S>,
    cotangent: &[f32],
) -> (Vec<f32>, Vec<Vec<f32>>) {
    let mut params = Params::new(device);
    let ids: Vec<_> = values
        .iter()
        .enumerate()
        .map(|(i, v)| params.add(format!("p{i}"), kinds.get(i).copied().unwrap_or(Kind::Weight), v))
        .collect();
    let workspace = Workspace::new(device);
    let tape = Tape::new(&params, &workspace, Mode::Train { key: Key::of_step(3, 4) });
    let out = build(&tape, &ids);
    let mut results = Vec::new();
    for _ in 0..2 {
        let mut gradients = Gradients::default();
        tape.pull_back(vec![(out.node, device.upload(cotangent))], &mut gradients);
        let of = |id: &ParamId| gradients.get(*id).map(|g| device.download(g)).unwrap_or_default();
        results.push(ids.iter().map(of).collect::<Vec<_>>());
        gradients.clear(&workspace);
    }
    assert_eq!(results[0], results[1], "replaying the tape gives the same bits");
    let value = device.download(&tape.value(out));
    (value, results.swap_remove(0))
}

fn linear_check<D: Kernels>(device: &D) {
    let (groups, batch, inputs, outputs) = (3, 5, 4, 6);
    let x = random(1, groups * batch * inputs);
    let w = random(2, groups * inputs * outputs);
    let b = random(3, groups * outputs);
    let c = random(4, groups * batch * outputs);
    let (y, g) = ours(
        device,
        &[&x, &w, &b],
        &[],
        |tape, p| bank_linear(tape, parameter(tape, p[0], (groups, batch, inputs)), p[1], p[2], outputs),
        &c,
    );
    let dev = Cpu::default();
    for e in 0..groups {
        let part = |v: &[f32], n: usize| v[e * n..(e + 1) * n].to_vec();
        let xe = matrix(&dev, &part(&x, batch * inputs), batch, inputs);
        let we = matrix(&dev, &part(&w, inputs * outputs), inputs, outputs);
        let be: Tensor<(usize,), f32, _> = dev.tensor_from_vec(part(&b, outputs), (outputs,));
        let out =
            xe.leaky_trace().matmul(we.clone()) + be.leaky_trace().broadcast_like::<_, Axis<0>>(&(batch, outputs));
        assert_close("linear", &part(&y, batch * outputs), &out.as_vec());
        let grads = (out * matrix(&dev, &part(&c, batch * outputs), batch, outputs)).sum().backward();
        assert_close("linear x", &part(&g[0], batch * inputs), &grads.get(&xe).as_vec());
        assert_close("linear w", &part(&g[1], inputs * outputs), &grads.get(&we).as_vec());
        assert_close("linear b", &part(&g[2], outputs), &grads.get(&be).as_vec());
    }
}

fn norm_check<D: Kernels>(device: &D, dropout: f32) {
    let (groups, batch, cols) = (2, 70, 67);
    let all = groups * cols;
    let x = random(5, groups * batch * cols);
    let (gain, shift) = (random(6, all), random(7, all));
    let c = random(8, groups * batch * cols);
    let running = vec![0.0; all];
    let norm = |p: &[ParamId]| Norm { gain: p[1], shift: p[2], mean: p[3], variance: p[4], dropout };
    let (y, g) = ours(
        device,
        &[&x, &gain, &shift, &running, &running],
        &[Kind::Weight, Kind::Weight, Kind::Weight, Kind::Statistic, Kind::Statistic],
        |tape, p| norm_relu_dropout(tape, parameter(tape, p[0], (groups, batch, cols)), norm(p)),
        &c,
    );
    let key = Key::of_step(3, 4).of_operation(0);
    let mask = |i: usize| {
        if element_hash(key, i as u32) >= drop_threshold(dropout) { 1.0 / (1.0 - dropout) } else { 0.0 }
    };
    let dev = Cpu::default();
    for e in 0..groups {
        let start = e * batch * cols;
        let part = |v: &[f32]| v[start..start + batch * cols].to_vec();
        let column = |v: &[f32]| -> Tensor<(usize,), f32, Cpu> {
            dev.tensor_from_vec(v[e * cols..(e + 1) * cols].to_vec(), (cols,))
        };
        let shape = (batch, cols);
        let xe = matrix(&dev, &part(&x), batch, cols);
        let (gain_e, shift_e) = (column(&gain), column(&shift));
        let traced = xe.leaky_trace();
        let mean = xe.leaky_trace().mean::<_, Axis<0>>().broadcast_like::<_, Axis<0>>(&shape);
        let centred = traced - mean;
        let variance = xe.leaky_trace().var::<_, Axis<0>>();
        let normal = centred / (variance + NORM_EPS).sqrt().broadcast_like::<_, Axis<0>>(&shape);
        let affine = normal * gain_e.leaky_trace().broadcast_like::<_, Axis<0>>(&shape)
            + shift_e.leaky_trace().broadcast_like::<_, Axis<0>>(&shape);
        let masks: Vec<f32> = (start..start + batch * cols).map(mask).collect();
        let out = affine.relu() * matrix(&dev, &masks, batch, cols);
        assert_close("norm", &part(&y), &out.as_vec());
        let grads = (out * matrix(&dev, &part(&c), batch, cols)).sum().backward();
        assert_close("norm x", &part(&g[0]), &grads.get(&xe).as_vec());
        assert_close("norm gain", &g[1][e * cols..(e + 1) * cols], &grads.get(&gain_e).as_vec());
        assert_close("norm shift", &g[2][e * cols..(e + 1) * cols], &grads.get(&shift_e).as_vec());
    }
}

fn gate_check<D: Kernels>(device: &D) {
    let (groups, batch, cols) = (4, 9, 21);
    let z = random(9, batch * groups);
    let x = random(10, groups * batch * cols);
    let c = random(11, batch * cols);
    let (h, g) = ours(
        device,
        &[&z, &x],
        &[],
        |tape, p| {
            let gate = super::softmax(tape, parameter(tape, p[0], (batch, groups)));
            mix(tape, gate, &[Candidates::all(parameter(tape, p[1], (groups, batch, cols)))])
        },
        &c,
    );
    let dev = Cpu::default();
    let zt = matrix(&dev, &z, batch, groups);
    let xt: Tensor<(usize, usize, usize), f32, _> = dev.tensor_from_vec(x, (groups, batch, cols));
    let gate = zt.leaky_trace().softmax::<Axis<1>>().permute::<_, Axes2<1, 0>>();
    let out = (xt.leaky_trace() * gate.broadcast_like::<_, Axis<2>>(&(groups, batch, cols))).sum::<_, Axis<0>>();
    assert_close("mix", &h, &out.as_vec());
    let grads = (out * matrix(&dev, &c, batch, cols)).sum().backward();
    assert_close("mix gate", &g[0], &grads.get(&zt).as_vec());
    assert_close("mix x", &g[1], &grads.get(&xt).as_vec());
}

fn bce_check<D: Kernels>(device: &D) {
    let batch = 40;
    let z: Vec<f32> = random(12, batch).iter().map(|z| z * 6.0).collect();
    let labels: Vec<f32> = random(13, batch).iter().map(|&x| f32::from(x > 0.0)).collect();
    let (loss, g) = ours(
        device,
        &[&z],
        &[],
        |tape, p| {
            let labels = tape.constant(tape.device().upload(&labels), (batch,));
            bce(tape, parameter(tape, p[0], (batch,)), labels).0
        },
        &[0.7],
    );
    let dev = Cpu::default();
    let zt: Tensor<(usize,), f32, _> = dev.tensor_from_vec(z, (batch,));
    let out = zt.leaky_trace().bce_with_logits(dev.tensor_from_vec(labels, (batch,))).mean();
    assert_close("bce", &loss, &out.as_vec());
    assert_close("bce z", &g[0], &(out * 0.7).backward().get(&zt).as_vec());
}

/// Against the dense definition: gather the embeddings, append the numeric token, multiply.
fn fields_check<D: Kernels>(device: &D, numerical: usize, sizes: &[usize], route: impl Fn(usize) -> Route) {
    let (groups, batch, outputs, width) = (2, 33, 70, 5);
    let fields = sizes.len();
    let layout = FieldLayout::new(sizes.iter().copied(), width);
    let slots = fields + usize::from(numerical > 0);
    let mut rng = ChaCha8Rng::seed_from_u64(20);
    let categorical: Vec<u32> =
        (0..batch).flat_map(|_| sizes.to_vec()).map(|size| rng.random_range(0..size as u32)).collect();
    let table = random(14, layout.rows() * width);
    let w = random(15, groups * slots * width * outputs);
    let b = random(16, groups * outputs);
    let (tw, tb) = (random(17, numerical * width), random(18, if numerical > 0 { width } else { 0 }));
    let x = random(19, batch * numerical);
    let c = random(21, groups * batch * outputs);
    let mut ids = FieldIds::default();
    ids.index_by(&layout, &categorical, batch, route);
    let (distinct, rows) = (ids.len(), ids.rows.clone());
    let ids = Rc::new(device.ids(ids));
    let (y, g) = ours(
        device,
        &[&table, &w, &b, &tw, &tb],
        &[Kind::Table { width }],
        |tape, p| {
            let compact = embed(tape, &ids, distinct, p[0], width);
            let numbers = tape.constant(tape.device().upload(&x), (batch, numerical));
            let token = NumericToken {
                weight: parameter(tape, p[3], (numerical, width)),
                bias: parameter(tape, p[4], (if numerical > 0 { width } else { 0 },)),
            };
            let maps = FieldMaps { groups, out: outputs, weight: p[1], bias: p[2] };
            fields_linear(tape, &ids, fields, compact, numbers, token, maps)
        },
        &c,
    );
    let dev = Cpu::default();
    let tt = matrix(&dev, &table, layout.rows(), width);
    let padded = if numerical > 0 { tw.clone() } else { vec![0.0; width] };
    let twt = matrix(&dev, &padded, numerical.max(1), width);
    let tbt = matrix(&dev, if numerical > 0 { &tb } else { &padded }, 1, width);
    let mut table_grad = vec![0.0f32; table.len()];
    let (mut tw_grad, mut tb_grad) = (vec![0.0f32; tw.len()], vec![0.0f32; tb.len()]);
    let sum = |into: &mut [f32], part: Vec<f32>| into.iter_mut().zip(part).for_each(|(a, b)| *a += b);
    for e in 0..groups {
        let be = matrix(&dev, &b[e * outputs..(e + 1) * outputs], 1, outputs);
        let weights: Vec<Matrix> = (0..slots)
            .map(|slot| {
                let at = (e * slots + slot) * width * outputs;
                matrix(&dev, &w[at..at + width * outputs], width, outputs)
            })
            .collect();
        let mut out = be.leaky_trace().reshape_like(&(outputs,)).broadcast_like::<_, Axis<0>>(&(batch, outputs));
        for field in 0..fields {
            let at: Vec<usize> =
                (0..batch).map(|r| layout.range(field).start + categorical[r * fields + field] as usize).collect();
            let index: Tensor<(usize,), usize, Cpu> = dev.tensor_from_vec(at, (batch,));
            out = out + tt.leaky_trace().gather(index).matmul(weights[field].clone());
        }
        if numerical > 0 {
            let token = matrix(&dev, &x, batch, numerical).leaky_trace().matmul(twt.clone())
                + tbt.leaky_trace().reshape_like(&(width,)).broadcast_like::<_, Axis<0>>(&(batch, width));
            out = out + token.matmul(weights[fields].clone());
        }
        let part = e * batch * outputs..(e + 1) * batch * outputs;
        assert_close("fields", &y[part.clone()], &out.as_vec());
        let grads = (out * matrix(&dev, &c[part], batch, outputs)).sum().backward();
        for (slot, weight) in weights.iter().enumerate() {
            let at = (e * slots + slot) * width * outputs;
            assert_close("fields w", &g[1][at..at + width * outputs], &grads.get(weight).as_vec());
        }
        assert_close("fields b", &g[2][e * outputs..(e + 1) * outputs], &grads.get(&be).as_vec());
        if fields > 0 {
            sum(&mut table_grad, grads.get(&tt).as_vec());
        }
        if numerical > 0 {
            sum(&mut tw_grad, grads.get(&twt).as_vec());
            sum(&mut tb_grad, grads.get(&tbt).as_vec());
        }
    }
    let compact: Vec<f32> =
        rows.iter().flat_map(|&row| table_grad[row as usize * width..(row as usize + 1) * width].to_vec()).collect();
    assert_close("fields table", &g[0], &compact);
    assert_close("token w", &g[3], &tw_grad);
    assert_close("token b", &g[4], &tb_grad);
}

/// One gate over some experts of a bank and all of another; the gradient into the first bank stopped or not.
fn candidates_check<D: Kernels>(device: &D, stopped: bool) {
    let (batch, cols) = (9, 21);
    let (gate, x, y) = (random(30, batch * 4), random(31, 5 * batch * cols), random(32, 2 * batch * cols));
    let c = random(33, batch * cols);
    let (h, g) = ours(
        device,
        &[&gate, &x, &y],
        &[],
        |tape, p| {
            let some = Candidates::some(parameter(tape, p[1], (5, batch, cols)), 1..3);
            let some = if stopped { some.stopped() } else { some };
            let all = Candidates::all(parameter(tape, p[2], (2, batch, cols)));
            mix(tape, parameter(tape, p[0], (batch, 4)), &[some, all])
        },
        &c,
    );
    let dev = Cpu::default();
    let gt = matrix(&dev, &gate, batch, 4);
    let bank = |values: &[f32], e: usize| matrix(&dev, &values[e * batch * cols..(e + 1) * batch * cols], batch, cols);
    let experts = [bank(&x, 1), bank(&x, 2), bank(&y, 0), bank(&y, 1)];
    let column = |j: usize| {
        let index: Tensor<(usize,), usize, Cpu> = dev.tensor_from_vec(vec![j], (1,));
        let column = gt.leaky_trace().permute::<_, Axes2<1, 0>>().gather(index).reshape_like(&(batch,));
        column.broadcast_like::<_, Axis<1>>(&(batch, cols))
    };
    let mut out = experts[0].leaky_trace() * column(0);
    for (j, expert) in experts.iter().enumerate().skip(1) {
        out = out + expert.leaky_trace() * column(j);
    }
    assert_close("candidates", &h, &out.as_vec());
    let grads = (out * matrix(&dev, &c, batch, cols)).sum().backward();
    assert_close("candidates gate", &g[0], &grads.get(&gt).as_vec());
    let of = |e: usize| grads.get(&experts[e]).as_vec();
    if stopped {
        assert!(g[1].is_empty(), "nothing flows into stopped experts");
    } else {
        let nothing = vec![0.0; batch * cols];
        let first = [nothing.clone(), of(0), of(1), nothing.clone(), nothing].concat();
        assert_close("candidates x", &g[1], &first);
    }
    assert_close("candidates y", &g[2], &[of(2), of(3)].concat());
}

fn shared_linear_check<D: Kernels>(device: &D) {
    let (groups, batch, inputs, outputs) = (3, 19, 7, 5);
    let x = random(34, batch * inputs);
    let (w, b) = (random(35, groups * inputs * outputs), random(36, groups * outputs));
    let c = random(37, groups * batch * outputs);
    let (y, g) = ours(
        device,
        &[&x, &w, &b],
        &[],
        |tape, p| shared_linear(tape, parameter(tape, p[0], (batch, inputs)), groups, p[1], p[2], outputs),
        &c,
    );
    let dev = Cpu::default();
    let xt = matrix(&dev, &x, batch, inputs);
    let mut dx = vec![0.0; x.len()];
    for e in 0..groups {
        let part = |v: &[f32], len: usize| v[e * len..(e + 1) * len].to_vec();
        let wt = matrix(&dev, &part(&w, inputs * outputs), inputs, outputs);
        let bt: Tensor<(usize,), f32, Cpu> = dev.tensor_from_vec(part(&b, outputs), (outputs,));
        let out = xt.leaky_trace().matmul(wt.leaky_trace())
            + bt.leaky_trace().broadcast_like::<_, Axis<0>>(&(batch, outputs));
        assert_close("shared linear", &part(&y, batch * outputs), &out.as_vec());
        let grads = (out * matrix(&dev, &part(&c, batch * outputs), batch, outputs)).sum().backward();
        dx.iter_mut().zip(grads.get(&xt).as_vec()).for_each(|(sum, part)| *sum += part);
        assert_close("shared linear w", &part(&g[1], inputs * outputs), &grads.get(&wt).as_vec());
        assert_close("shared linear b", &part(&g[2], outputs), &grads.get(&bt).as_vec());
    }
    assert_close("shared linear x", &g[0], &dx);
}

/// ReLU with dropout, a sum in which one value stands twice, a stack, scores, and a row in front of others.
fn join_check<D: Kernels>(device: &D) {
    let (batch, cols, width) = (13, 6, 4);
    let (x, y, row) = (random(40, batch * cols), random(41, batch * cols), random(42, width));
    let c = random(43, batch * (width + 2));
    let share = 0.3;
    let (out, g) = ours(
        device,
        &[&x, &y, &row],
        &[],
        |tape, p| {
            let (x, y) = (parameter(tape, p[0], (batch, cols)), parameter(tape, p[1], (batch, cols)));
            let active = relu_dropout(tape, x, share);
            let twice = add(tape, active, active);
            let bank = stack(tape, &[twice, y]);
            let other = stack(tape, &[y, y]);
            prefix_rows(tape, parameter(tape, p[2], (width,)), row_dots(tape, bank, other, 0.5))
        },
        &c,
    );
    let key = Key::of_step(3, 4).of_operation(0);
    let kept = |i: usize| element_hash(key, i as u32) >= drop_threshold(share);
    let masks: Vec<f32> = (0..x.len()).map(|i| if kept(i) { 1.0 / (1.0 - share) } else { 0.0 }).collect();
    let dev = Cpu::default();
    let (xt, yt) = (matrix(&dev, &x, batch, cols), matrix(&dev, &y, batch, cols));
    let rt: Tensor<(usize,), f32, Cpu> = dev.tensor_from_vec(row, (width,));
    let column = |t: Tensor<(usize,), f32, Cpu, OwnedTape<f32, Cpu>>| t.reshape_like(&(batch, 1));
    let twice = xt.leaky_trace().relu() * matrix(&dev, &masks, batch, cols) * 2.0;
    let first = column((twice * yt.leaky_trace()).sum::<_, Axis<1>>() * 0.5);
    let second = column(yt.leaky_trace().square().sum::<_, Axis<1>>() * 0.5);
    let front = rt.leaky_trace().broadcast_like::<_, Axis<0>>(&(batch, width));
    let joined = (front, first).concat_along(Axis::<1>);
    let joined = (joined, second).concat_along(Axis::<1>);
    assert_close("join", &out, &joined.as_vec());
    let grads = (joined * matrix(&dev, &c, batch, width + 2)).sum().backward();
    assert_close("join x", &g[0], &grads.get(&xt).as_vec());
    assert_close("join y", &g[1], &grads.get(&yt).as_vec());
    assert_close("join row", &g[2], &grads.get(&rt).as_vec());
}

fn logits_check<D: Kernels>(device: &D) {
    let (batch, critics, scale) = (17, 3, 0.8);
    let a: Vec<f32> = random(50, batch).iter().map(|x| x * 4.0).collect();
    let b: Vec<f32> = random(51, batch).iter().map(|x| x * 4.0).collect();
    let c = random(52, batch);
    let dev = Cpu::default();
    let vector =
        |values: &[f32]| -> Tensor<(usize,), f32, Cpu> { dev.tensor_from_vec(values.to_vec(), (values.len(),)) };
    let (out, g) = ours(
        device,
        &[&a, &b],
        &[],
        |tape, p| product_logits(tape, parameter(tape, p[0], (batch,)), parameter(tape, p[1], (batch,))),
        &c,
    );
    let (at, bt) = (vector(&a), vector(&b));
    let both = || at.leaky_trace().sigmoid() * bt.leaky_trace().sigmoid();
    let z = both().ln() - (both().negate() + 1.0).ln();
    assert_close("product logits", &out, &z.as_vec());
    let grads = (z * vector(&c)).sum().backward();
    assert_close("product logits a", &g[0], &grads.get(&at).as_vec());
    assert_close("product logits b", &g[1], &grads.get(&bt).as_vec());

    let gate: Vec<f32> = random(53, batch * critics).iter().map(|x| (x + 1.5) / 8.0).collect();
    let x: Vec<f32> = random(54, critics * batch).iter().map(|x| x * 3.0).collect();
    let (out, g) = ours(
        device,
        &[&gate, &x],
        &[],
        |tape, p| {
            let (gate, x) = (parameter(tape, p[0], (batch, critics)), parameter(tape, p[1], (critics, batch)));
            mixture_logits(tape, gate, x, scale)
        },
        &c,
    );
    let (gt, xt) = (matrix(&dev, &gate, batch, critics), matrix(&dev, &x, critics, batch));
    let mixture = || {
        let weighed = xt.leaky_trace().sigmoid() * gt.leaky_trace().permute::<_, Axes2<1, 0>>();
        weighed.sum::<(usize,), Axis<0>>() * scale
    };
    let z = mixture().ln() - (mixture().negate() + 1.0).ln();
    assert_close("mixture logits", &out, &z.as_vec());
    let grads = (z * vector(&c)).sum().backward();
    assert_close("mixture logits gate", &g[0], &grads.get(&gt).as_vec());
    assert_close("mixture logits x", &g[1], &grads.get(&xt).as_vec());
}

/// Far out, where probabilities have no digits left, logits still do.
#[test]
fn logits_of_products_and_mixtures_stay_finite() {
    let device = crate::tensor::Cpu::default();
    let far = [-200.0, -200.0, 200.0, 200.0, 0.0];
    let other = [-200.0, 200.0, 200.0, -1.0, -300.0];
    let c = [1.0; 5];
    let build = |tape: &Tape<Cpu>, p: &[ParamId]| {
        product_logits(tape, parameter(tape, p[0], (5,)), parameter(tape, p[1], (5,)))
    };
    let (z, g) = ours(&device, &[&far, &other], &[], build, &c);
    assert_close(
        "far out",
        &z,
        &[-400.0, -200.0, 200.0 - std::f32::consts::LN_2, -1.0, -300.0 - std::f32::consts::LN_2],
    );
    assert!(g.concat().iter().all(|g| g.is_finite()), "{g:?}");
    let build = |tape: &Tape<Cpu>, p: &[ParamId]| {
        mixture_logits(tape, parameter(tape, p[0], (1, 2)), parameter(tape, p[1], (2, 1)), 1.0)
    };
    let (z, g) = ours(&device, &[&[0.5, 0.5], &[-300.0, -300.0]], &[], build, &[1.0]);
    assert!(z[0] < -60.0 && z[0].is_finite() && g.concat().iter().all(|g| g.is_finite()), "{z:?} {g:?}");
}

fn mean_token_check<D: Kernels>(device: &D) {
    for columns in [0, 3] {
        let (batch, width, sizes) = (11, 5, [4, 70]);
        let layout = FieldLayout::new(sizes, width);
        let mut rng = ChaCha8Rng::seed_from_u64(60);
        let categorical: Vec<u32> =
            (0..batch).flat_map(|_| sizes).map(|size| rng.random_range(0..size as u32)).collect();
        let table = random(61, layout.rows() * width);
        let bias = if columns > 0 { width } else { 0 };
        let (tw, tb, x) = (random(62, columns * width), random(63, bias), random(64, batch * columns));
        let c = random(65, batch * width);
        let mut ids = FieldIds::default();
        ids.index_by(&layout, &categorical, batch, |distinct| if distinct < 5 { Route::Table } else { Route::Direct });
        let (distinct, rows) = (ids.len(), ids.rows.clone());
        let ids = Rc::new(device.ids(ids));
        let (y, g) = ours(
            device,
            &[&table, &tw, &tb],
            &[Kind::Table { width }],
            |tape, p| {
                let compact = embed(tape, &ids, distinct, p[0], width);
                let numbers = tape.constant(tape.device().upload(&x), (batch, columns));
                let token = NumericToken {
                    weight: parameter(tape, p[1], (columns, width)),
                    bias: parameter(tape, p[2], (bias,)),
                };
                mean_token(tape, &ids, batch, compact, numeric_token(tape, numbers, token))
            },
            &c,
        );
        let dev = Cpu::default();
        let tt = matrix(&dev, &table, layout.rows(), width);
        let gathered = |field: usize| {
            let at: Vec<usize> =
                (0..batch).map(|b| layout.range(field).start + categorical[b * 2 + field] as usize).collect();
            let index: Tensor<(usize,), usize, Cpu> = dev.tensor_from_vec(at, (batch,));
            tt.leaky_trace().gather(index)
        };
        let (twt, tbt) = (
            matrix(&dev, if columns > 0 { &tw } else { &[0.0; 5] }, columns.max(1), width),
            matrix(&dev, if columns > 0 { &tb } else { &[0.0; 5] }, 1, width),
        );
        let mut out = gathered(0) + gathered(1);
        if columns > 0 {
            let token = matrix(&dev, &x, batch, columns).leaky_trace().matmul(twt.clone());
            let bias = tbt.leaky_trace().reshape_like(&(width,)).broadcast_like::<_, Axis<0>>(&(batch, width));
            out = out + (token + bias);
        }
        let out = out / (2.0 + f32::from(columns > 0));
        assert_close("mean token", &y, &out.as_vec());
        let grads = (out * matrix(&dev, &c, batch, width)).sum().backward();
        let full = grads.get(&tt).as_vec();
        let compact: Vec<f32> =
            rows.iter().flat_map(|&row| full[row as usize * width..(row as usize + 1) * width].to_vec()).collect();
        assert_close("mean token table", &g[0], &compact);
        if columns > 0 {
            assert_close("mean token weight", &g[1], &grads.get(&twt).as_vec());
            assert_close("mean token bias", &g[2], &grads.get(&tbt).as_vec());
        }
    }
}

/// The suite every device must pass.
fn suite<D: Kernels>(device: &D) {
    linear_check(device);
    norm_check(device, 0.0);
    norm_check(device, 0.3);
    gate_check(device);
    sparse::suite(device);
    bce_check(device);
    candidates_check(device, false);
    candidates_check(device, true);
    shared_linear_check(device);
    join_check(device);
    logits_check(device);
    mean_token_check(device);
    let by_table = |_| Route::Table;
    fields_check(device, 3, &[4, 9, 2], by_table);
    fields_check(device, 0, &[4, 9], by_table);
    fields_check(device, 6, &[], by_table);
    fields_check(device, 2, &[1000], by_table);
    // the same formula whichever way a field goes, and with both ways in one batch
    fields_check(device, 3, &[4, 9, 2], |_| Route::Direct);
    fields_check(device, 0, &[4, 9], |_| Route::Direct);
    for most in [3, 8, 28] {
        fields_check(
            device,
            3,
            &[4, 1000, 2, 9, 70],
            |distinct| if distinct <= most { Route::Table } else { Route::Direct },
        );
    }
    fields_check(device, 2, &[7, 1_000_000], |distinct| if distinct < 20 { Route::Table } else { Route::Direct });
}

#[test]
fn pull_backs_agree_with_dfdx_in_the_gpus_kernels() {
    crate::tensor::gpu::emulated::Emulated::open().iter().for_each(suite);
}

#[cfg(feature = "cuda")]
#[test]
fn pull_backs_agree_with_dfdx_on_a_gpu() {
    match crate::tensor::Cuda::open(0) {
        Ok(gpu) => {
            suite(&gpu);
            assert_eq!(gpu.fault(), None);
        }
        Err(fault) => eprintln!("skipped: {}", fault.message),
    }
}

#[test]
fn pull_backs_agree_with_dfdx_on_the_cpu() {
    suite(&crate::tensor::Cpu::default());
}
