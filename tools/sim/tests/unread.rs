//! Whoever reads may go at any time, as in `leasefence-sim | head -1`.

#[path = "../../../src/say/tests/support/unread.rs"]
mod unread;

#[test]
fn the_simulator_ends_quietly_when_nobody_reads_and_begins_no_seed_any_more() {
    let program = env!("CARGO_BIN_EXE_leasefence-sim");
    unread::run_unread(program, &["--seeds", "1", "--trace", "lines"]);
    // It ends long before the hour is over, and does not claim that all is well.
    assert_eq!(
        unread::run_unread(program, &["--random", "--for", "1h", "--jobs", "1"]).status.code(),
        Some(1)
    );
}
