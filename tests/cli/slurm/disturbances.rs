//! Nodes that are drained or fail.

use super::Cluster;
use crate::project::ENDLESS;

const RUN: [&str; 5] = ["run", "pipelines/small.ron", "--on", "slurm", "--json"];

/// Lets the node work again, whatever becomes of the test.
struct Resumed<'a>(&'a Cluster);

impl Drop for Resumed<'_> {
    fn drop(&mut self) {
        self.0.resume_node();
    }
}

#[test]
fn jobs_wait_for_a_drained_node_and_say_so() {
    let Some(cluster) = Cluster::alone() else { return };
    cluster.set_node("DRAIN");
    let resumed = Resumed(&cluster);
    let mut running = cluster.start(&RUN);
    running.wait_for("slurm: jobs wait: ");
    assert_eq!(cluster.made(), 0);
    drop(resumed);
    let ended = running.end().expect(0);
    assert_eq!(ended.ran().len(), 5);
    assert!(ended.err.contains("DRAINED") || ended.err.contains("NotAvail"), "{ended:?}");
}

#[test]
fn a_job_that_loses_its_node_goes_on_on_another() {
    let Some(cluster) = Cluster::alone() else { return };
    // no restart of its own: this one is Slurm's
    let mut running = cluster.start(&[&RUN[..], &ENDLESS, &["--requeue", "0"]].concat());
    cluster.wait_for_checkpoint();
    let job = cluster.running("train");
    running.wait_for(&format!("train: job {job} runs on "));
    cluster.set_node("DOWN");
    let resumed = Resumed(&cluster);
    running.wait_for(&format!("train: job {job} was stopped and waits to start again"));
    drop(resumed);
    cluster.wait_for_resumption(1);
    running.signal("INT");
    running.end().expect(130);
    cluster.expect_nothing_left();
}
