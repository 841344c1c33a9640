//! `--on slurm`, driven as users drive it, on a real Slurm of one node: the one that `.ci/slurm start` starts. Without it
//! these tests say that they were skipped.
//!
//! They share that node. Those that disturb all of Slurm have it for themselves.

mod cluster;
mod disturbances;
mod following;
mod jobs;
mod refusals;
mod sweeping;

use cluster::Cluster;
