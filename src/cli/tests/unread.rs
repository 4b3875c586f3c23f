//! Whoever reads may go at any time, as in `leasefence status | head -1`: that changes no exit code.

#[path = "../../say/tests/support/unread.rs"]
mod unread;

#[test]
fn every_command_ends_quietly_when_nobody_reads() {
    let directory = tempfile::tempdir().expect("a directory is made");
    let lease = directory.path().join("lease");
    let lease = lease.to_str().expect("its path is text");
    let program = env!("CARGO_BIN_EXE_leasefence");
    for arguments in [
        &["init", "--cluster", "prod", "--test", lease][..],
        &["dump", lease],
        &["slot", "list", "--lease", lease],
        // It would go on for ever.
        &["status", "--watch", "1", "--lease", lease],
        &["completions", "bash"],
    ] {
        let output = unread::run_unread(program, arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }
}
