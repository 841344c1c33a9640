//! The program driven as its users drive it: exit codes, standard output, standard error, what lies on the disk.

mod balance;
mod checkpoints;
mod crowd;
mod describing;
mod faults;
mod fetching;
mod golden;
mod initialising;
mod load;
mod looking;
mod own_log;
mod predicting;
mod project;
mod readme;
mod real_rows;
mod remote;
mod report;
mod running;
#[path = "../server/s3.rs"]
mod s3;
mod searches;
#[path = "../server/mod.rs"]
mod server;
mod slurm;
mod snapshots;
mod sweep;
mod toy;
