//! Whole blocks against the same formula written densely with dfdx's operations and differentiated by dfdx: every expert on
//! every sample, times a mask of the chosen ones.

use std::collections::HashMap;

use dfdx::prelude::*;

use super::{MoeBlock, MoeConfig};
use crate::nn::{Builder, Init};
use crate::tensor::kernels::RouteRule;
use crate::tensor::op::{bce, parameter, shared_linear};
use crate::tensor::{Cpu, Gradients, Kernels, Key, Kind, Mode, Tape, Workspace};

const BATCH: usize = 40;
const WIDTH: usize = 6;
const HIDDEN: usize = 5;
const BLOCKS: usize = 2;

type Matrix = Tensor<(usize, usize), f32, Cpu>;
type Owned = OwnedTape<f32, Cpu>;
type Traced = Tensor<(usize, usize), f32, Cpu, Owned>;

/// PyTorch's tensors, as matrices to multiply from the left (transposed), by name.
type Tensors = HashMap<String, Matrix>;

fn config(routers: Option<usize>, shared: usize) -> MoeConfig {
    let rule = RouteRule { experts: 8, top_k: 3, groups: 4, groups_kept: 2, normalise: true, scaling: 1.5 };
    MoeConfig { rule, rate: 0.0, hidden: HIDDEN, shared, routers }
}

fn masks(rule: &RouteRule, scores: &[f32], bias: &[f32]) -> Vec<f32> {
    let size = rule.experts / rule.groups;
    let mask = |scores: &[f32]| {
        let biased: Vec<f32> = scores.iter().zip(bias).map(|(s, b)| s + b).collect();
        let group = |g: usize| {
            let mut members = biased[g * size..(g + 1) * size].to_vec();
            members.sort_by(|a, b| b.total_cmp(a));
            members[0] + members[1]
        };
        let better_groups = |g: usize| (0..rule.groups).filter(|&other| group(other) > group(g)).count();
        let allowed = |j: usize| better_groups(j / size) < rule.groups_kept;
        let better = |j: usize| (0..rule.experts).filter(|&i| allowed(i) && biased[i] > biased[j]).count();
        (0..rule.experts).map(|j| f32::from(allowed(j) && better(j) < rule.top_k)).collect::<Vec<_>>()
    };
    scores.chunks_exact(rule.experts).flat_map(mask).collect()
}

/// `W_down·(silu(W_gate·z) ⊙ W_up·z)`.
fn dense_expert(z: &Traced, tensors: &Tensors, name: &str) -> Traced {
    let weight = |part: &str| tensors[&format!("{name}.{part}.weight")].clone();
    let gate = || z.retaped::<Owned>().matmul(weight("gate"));
    (gate() * gate().sigmoid() * z.retaped::<Owned>().matmul(weight("up"))).matmul(weight("down"))
}

fn dense_block(h: Traced, tensors: &Tensors, name: &str, router: &str, config: &MoeConfig) -> Traced {
    let dev = Cpu::default();
    let rule = &config.rule;
    let shape = (BATCH, WIDTH);
    let root = (h.retaped::<Owned>().square().mean::<_, Axis<1>>() + 1e-6).sqrt();
    let gain = tensors[&format!("{name}.norm.weight")].leaky_trace().reshape_like(&(WIDTH,));
    let z =
        h.retaped::<Owned>() / root.broadcast_like::<_, Axis<1>>(&shape) * gain.broadcast_like::<_, Axis<0>>(&shape);
    let scores = z.retaped::<Owned>().matmul(tensors[&format!("{router}.weight")].clone()).sigmoid();
    let mask = masks(rule, &scores.as_vec(), &tensors[&format!("{router}.bias")].as_vec());
    let masked = scores * dev.tensor_from_vec(mask, (BATCH, rule.experts));
    let total = masked.retaped::<Owned>().sum::<_, Axis<1>>() + 1e-20;
    let gates = masked / total.broadcast_like::<_, Axis<1>>(&(BATCH, rule.experts)) * rule.scaling;
    let mut out = h;
    for e in 0..rule.experts {
        let mut only = vec![0.0; rule.experts * WIDTH];
        only[e * WIDTH..(e + 1) * WIDTH].fill(1.0);
        let gate = gates.retaped::<Owned>().matmul(dev.tensor_from_vec(only, (rule.experts, WIDTH)));
        out = out + dense_expert(&z, tensors, &format!("{name}.experts.{e}")) * gate;
    }
    if config.shared > 0 {
        out = out + dense_expert(&z, tensors, &format!("{name}.shared"));
    }
    // brings the tapes in that the copies above left out
    let gates = (gates * 0.0).sum::<_, Axis<1>>().broadcast_like::<_, Axis<1>>(&shape);
    out + z * 0.0 + gates
}

/// Two blocks, and behind each stream a linear output unit with its cross-entropy.
fn check(config: MoeConfig) {
    let device = Cpu::default();
    let mut b = Builder::new(&device, 5);
    let blocks: Vec<_> = (0..BLOCKS).map(|i| MoeBlock::new(&mut b, &format!("blocks.{i}"), WIDTH, &config)).collect();
    let streams = config.routers.unwrap_or(1);
    let x = b.add("x", Kind::Weight, BATCH * WIDTH, Init::Uniform(1.0));
    let heads: Vec<_> = (0..streams)
        .map(|k| {
            let weight = b.add(format!("head.{k}"), Kind::Weight, WIDTH, Init::Uniform(1.0));
            (weight, b.add("offset", Kind::Weight, 1, Init::Constant(0.0)))
        })
        .collect();
    // scales and biases that do something
    let settings: Vec<_> = b.params.iter().map(|(id, param)| (id, param.name.clone(), param.value.as_vec())).collect();
    for (id, name, mut values) in settings {
        let change = if name.contains("norm") { 0.3 } else { 0.05 };
        if name.contains("norm") || name.ends_with("bias") {
            values.iter_mut().enumerate().for_each(|(j, value)| *value += change * ((j * 5 % 7) as f32 - 3.0));
            device.write(&mut b.params[id].value, &values);
        }
    }
    let labels = |k: usize| (0..BATCH).map(|row| f32::from((row + k).is_multiple_of(3))).collect::<Vec<f32>>();

    let workspace = Workspace::new(&device);
    let tape = Tape::new(&b.params, &workspace, Mode::Train { key: Key::of_step(0, 0) });
    let first = vec![parameter(&tape, x, (BATCH, WIDTH))];
    let outs = blocks.iter().fold(first, |streams, block| block.forward(&tape, &streams));
    assert_eq!(outs.len(), streams);
    let losses: Vec<_> = outs
        .iter()
        .zip(&heads)
        .enumerate()
        .map(|(k, (h, (weight, bias)))| {
            let labels = tape.constant(device.upload(&labels(k)), (BATCH,));
            let logits = shared_linear(&tape, *h, 1, *weight, *bias, Const::<1>).squeezed().flattened();
            bce(&tape, logits, labels).0
        })
        .collect();

    let tensors: Tensors = b
        .tensors
        .iter()
        .map(|tensor| {
            let values = b.params[tensor.parts[0].param].value.as_vec();
            let (rows, cols) = (tensor.shape[0], tensor.shape.get(1).copied().unwrap_or(1));
            let elements: Vec<f32> = tensor.elements().map(|(_, at)| values[at]).collect();
            let transposed =
                (0..cols).flat_map(|j| (0..rows).map(move |i| (i, j))).map(|(i, j)| elements[i * cols + j]);
            (tensor.name.clone(), device.tensor_from_vec(transposed.collect(), (cols, rows)))
        })
        .collect();
    let xt: Matrix = device.tensor_from_vec(b.params[x].value.as_vec(), (BATCH, WIDTH));
    for (k, (loss, (weight, _))) in losses.iter().zip(&heads).enumerate() {
        let mut h = xt.leaky_trace();
        for i in 0..BLOCKS {
            let router = config.routers.map_or(format!("blocks.{i}.router"), |_| format!("blocks.{i}.router.{k}"));
            h = dense_block(h, &tensors, &format!("blocks.{i}"), &router, &config);
        }
        assert_close("output", &tape.value(outs[k]).as_vec(), &h.as_vec());
        let head: Matrix = device.tensor_from_vec(b.params[*weight].value.as_vec(), (WIDTH, 1));
        let theirs = h.matmul(head.clone()).bce_with_logits(device.tensor_from_vec(labels(k), (BATCH, 1))).mean();
        let grads = theirs.backward();
        let mut gradients = Gradients::default();
        tape.backward(&[(*loss, 1.0)], &mut gradients);
        assert_close("x", &gradients.get(x).unwrap().as_vec(), &grads.get(&xt).as_vec());
        assert_close("head", &gradients.get(*weight).unwrap().as_vec(), &grads.get(&head).as_vec());
        let reached = tape.reach(*loss);
        for tensor in &b.tensors {
            let param = tensor.parts[0].param;
            let other = config.routers.is_some()
                && tensor.name.contains("router")
                && !tensor.name.contains(&format!("router.{k}."));
            if other || b.params[param].kind == Kind::Statistic {
                assert!(gradients.get(param).is_none() && !reached.contains(&param), "{}", tensor.name);
                continue;
            }
            let ours = gradients.get(param).unwrap().as_vec();
            let (rows, cols) = (tensor.shape[0], tensor.shape.get(1).copied().unwrap_or(1));
            let ours: Vec<f32> = tensor.elements().map(|(_, at)| ours[at]).collect();
            let theirs = grads.get(&tensors[&tensor.name]).as_vec();
            let theirs: Vec<f32> =
                (0..rows).flat_map(|i| (0..cols).map(move |j| (i, j))).map(|(i, j)| theirs[j * rows + i]).collect();
            assert_close(&tensor.name, &ours, &theirs);
        }
        gradients.clear(&workspace);
    }
}

fn assert_close(what: &str, ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len(), "{what}: lengths");
    let scale = theirs.iter().fold(1e-4f32, |a, b| a.max(b.abs()));
    for (i, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert!((a - b).abs() <= 3e-5 * scale, "{what}[{i}]: {a} against dfdx's {b} (scale {scale})");
    }
}

#[test]
fn blocks_agree_with_dense_ones() {
    check(config(None, 2 * HIDDEN));
}

#[test]
fn blocks_without_shared_expert_agree_with_dense_ones() {
    check(config(None, 0));
}

#[test]
fn a_router_for_each_stream_agrees_with_dense_blocks() {
    check(config(Some(2), HIDDEN));
}
