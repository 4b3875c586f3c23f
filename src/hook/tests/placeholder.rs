//! The hook as libvirt runs it. A failure of `reconnect` kills a running guest, and a word on stdout of `migrate` or
//! `restore` replaces a definition.

use std::process::{Command, Output, Stdio};

fn hook(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leasefence-hook"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the hook runs")
}

#[test]
fn everything_is_allowed_and_nothing_is_said() {
    for (operation, phase) in [
        ("prepare", "begin"),
        ("start", "begin"),
        ("started", "begin"),
        ("stopped", "end"),
        ("release", "end"),
        ("migrate", "begin"),
        ("restore", "begin"),
        ("reconnect", "begin"),
        ("attach", "begin"),
        ("an operation of tomorrow", "begin"),
    ] {
        let answer = hook(&["web-1", operation, phase, "-"]);
        assert!(answer.status.success(), "{operation}: {:?}", answer.status);
        assert!(answer.stdout.is_empty() && answer.stderr.is_empty(), "{operation}: {answer:?}");
    }
}

#[test]
fn a_domain_named_like_an_option_gets_no_text_as_its_definition() {
    let answer = hook(&["--version", "migrate", "begin", "-"]);
    assert!(answer.status.success() && answer.stdout.is_empty(), "{answer:?}");
}

#[test]
fn the_sentence_by_which_the_packages_know_it_is_in_its_help() {
    let answer = hook(&["--help"]);
    assert!(
        String::from_utf8_lossy(&answer.stdout)
            .starts_with("leasefence-hook, placed by the package leasefence\n")
    );
}
