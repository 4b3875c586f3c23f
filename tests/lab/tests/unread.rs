//! Whoever reads may go at any time, as in `leasefence-lab list | head -1`: a lab goes on to its end all the same.

#[path = "../../../src/say/tests/support/unread.rs"]
mod unread;

#[test]
fn the_lab_ends_quietly_when_nobody_reads() {
    assert!(unread::run_unread(env!("CARGO_BIN_EXE_leasefence-lab"), &["list"]).status.success());
}
