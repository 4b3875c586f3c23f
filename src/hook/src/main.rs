//! `leasefence-hook`: libvirt's qemu hook, asked before a domain starts, is migrated or restored. Linked statically, without
//! a dependency: nothing that may be missing or half upgraded stands between libvirt and its answer.
//!
//! This version is a placeholder that allows everything: R9 still rests on the fencer alone, which kills what starts without a
//! lease. It says nothing on stdout while libvirt asks, since that would replace the domain's definition; and it leaves
//! the definition on stdin unread, which libvirt permits.

use std::process::ExitCode;

/// The packages' `place-hook` knows a hook of ours, of any version, by this sentence in the binary.
const HELP: &str = "\
leasefence-hook, placed by the package leasefence
Libvirt runs it as /etc/libvirt/hooks/qemu.d/leasefence DOMAIN OPERATION PHASE EXTRA. This version allows everything.
";

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    // Libvirt always gives four arguments, so a domain may have any of these names.
    if let (Some(only), None) = (arguments.next(), arguments.next()) {
        if only == "--version" {
            println!("leasefence-hook {}", env!("CARGO_PKG_VERSION"));
        } else if only == "--help" {
            print!("{HELP}");
        }
    }
    ExitCode::SUCCESS
}
