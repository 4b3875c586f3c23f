//! A lab of virtual hypervisors: real kernels, NFS and iSCSI, systemd and the package. What can fail in it is made to fail from outside. See README.md beside this crate.

mod capabilities;
pub mod cluster;
pub mod guest;
pub mod image;
pub mod inside;
pub mod lab;
pub mod machine;
pub mod qemu;
pub mod qmp;
pub mod run;
pub mod ssh;
pub mod storage;
pub mod supplies;
pub mod switch;
