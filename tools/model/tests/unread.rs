//! Whoever reads may go at any time, as in `leasefence-model all | head -1`.

#[path = "../../../src/say/tests/support/unread.rs"]
mod unread;

#[test]
fn the_model_check_ends_quietly_when_nobody_reads() {
    // What was not searched is not shown to be sound.
    let output = unread::run_unread(env!("CARGO_BIN_EXE_leasefence-model"), &["all", "--most", "10"]);
    assert_eq!(output.status.code(), Some(1));
}
