//! The hook as libvirt runs it. A failure of `reconnect` kills a running guest, and a word on stdout of `migrate` or
//! `restore` replaces a definition.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

fn hook(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_leasefence-hook"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the hook runs")
}

/// Catches: a `reconnect` that fails for whatever reason, which libvirt answers by killing a guest that runs.
#[test]
fn reconnect_succeeds_whatever_the_other_arguments_are() {
    let arguments: [&[&str]; 4] = [
        &["web-1", "reconnect", "begin", "-"],
        &["web-1", "reconnect"],
        &["", "reconnect", "", "", "more"],
        &["--version", "reconnect", "end", "-"],
    ];
    for arguments in arguments {
        let answer = hook(arguments);
        assert!(answer.status.success(), "{arguments:?}: {answer:?}");
        assert!(answer.stdout.is_empty() && answer.stderr.is_empty(), "{arguments:?}: {answer:?}");
    }
}

#[test]
fn on_a_host_that_was_never_configured_everything_is_allowed_and_nothing_is_said() {
    if Path::new("/etc/leasefence/leasefence.toml").exists() {
        eprintln!("*** DID NOT RUN: this machine has a configuration of its own ***");
        return;
    }
    let begun = Instant::now();
    for (operation, phase) in [
        ("prepare", "begin"),
        ("start", "begin"),
        ("started", "begin"),
        ("stopped", "end"),
        ("release", "end"),
        ("migrate", "begin"),
        ("restore", "begin"),
        ("attach", "begin"),
        ("an operation of tomorrow", "begin"),
    ] {
        let answer = hook(&["reconnect", operation, phase, "-"]);
        assert!(answer.status.success(), "{operation}: {:?}", answer.status);
        assert!(answer.stdout.is_empty() && answer.stderr.is_empty(), "{operation}: {answer:?}");
    }
    println!("a run of the program: {:?}", begun.elapsed() / 9);
}

#[test]
fn a_domain_named_like_an_option_gets_no_text_as_its_definition() {
    let answer = hook(&["--version", "restore", "begin", "-"]);
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
