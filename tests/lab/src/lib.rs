//! A lab of virtual hypervisors: real kernels, NFS and iSCSI, systemd and the package, and scenarios in which something of
//! it fails. See README.md beside this crate.

mod beside;
mod capabilities;
pub mod clocks;
pub mod cluster;
pub mod guest;
pub mod image;
pub mod inside;
pub mod lab;
pub mod machine;
pub mod qemu;
pub mod qmp;
pub mod report;
pub mod resets;
pub mod run;
pub mod runner;
pub mod scenario;
pub mod scenarios;
pub mod ssh;
pub mod stage;
pub mod storage;
pub mod supplies;
pub mod switch;
mod tsc;
pub mod waits;
pub mod witness;
