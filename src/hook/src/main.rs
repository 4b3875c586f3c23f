//! `leasefence-hook`: libvirt's qemu hook, asked before a domain starts, is migrated or restored. Linked statically, without
//! a dependency: nothing that may be missing or half upgraded stands between libvirt and its answer.
//!
//! It says nothing on stdout while libvirt asks, since that would replace the domain's definition. What it denies it explains on
//! stderr, which libvirt puts into its error.

use std::env;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use leasefence_hook::{Arguments, CONFIG_PATH, Decision, decide};

/// The packages' `place-hook` knows a hook of ours, of any version, by the first sentence in the binary.
const HELP: &str = "\
leasefence-hook, placed by the package leasefence
Libvirt runs it as /etc/libvirt/hooks/qemu.d/leasefence DOMAIN OPERATION PHASE EXTRA. It asks this host's leasefence-agent, and
denies the start of a protected domain without its lease. A host whose agent was never configured denies nothing.
";

fn main() -> ExitCode {
    // Before anything else, whatever the other arguments are: libvirt kills the running guest when this fails.
    if env::args_os().nth(2).is_some_and(|operation| operation == "reconnect") {
        return ExitCode::SUCCESS;
    }
    let arguments: Vec<_> = env::args_os().skip(1).collect();
    // Libvirt always gives four arguments, so a domain may have any of these names.
    if let [only] = arguments.as_slice() {
        if only == "--version" {
            println!("leasefence-hook {}", env!("CARGO_PKG_VERSION"));
        } else if only == "--help" {
            print!("{HELP}");
        }
        return ExitCode::SUCCESS;
    }
    match decide(Path::new(CONFIG_PATH), Arguments::new(arguments), io::stdin()) {
        Decision::Allow => ExitCode::SUCCESS,
        Decision::Deny(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}
