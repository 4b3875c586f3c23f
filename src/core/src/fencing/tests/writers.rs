//! Writers that are no domain's: while one has a domain's storage open, nothing is proven.

use super::super::{ANY_DEVICE, Quiet, Unproven};
use super::*;

/// Catches: a receipt while a qemu-nbd still writes to a disk that is about to be started elsewhere.
#[test]
fn while_a_storage_is_open_to_somebody_else_there_is_no_proof_and_the_host_is_reset() {
    let mut host = Host::armed();
    host.fencer.resets_host(true);
    host.writers = vec![1];
    host.beat(8000);
    host.beat(9000);
    assert!(host.is_latched() && !host.is_clean() && !host.published.unproven);
    host.beat(10_000);
    assert_eq!(host.published.unproven_reason, Some(Unproven::StorageNotQuiet));
    assert!(host.resets > 0);
    host.writers.clear();
    host.beat(10_100);
    host.beat(10_101);
    assert!(host.is_clean(), "it has gone");
}

#[test]
fn one_of_another_storage_is_nobody_s_business() {
    let mut host = Host::armed();
    host.writers = vec![2, 3];
    host.beat(8000);
    host.beat(8001);
    assert!(host.is_clean());
}

#[test]
fn one_of_whom_nobody_knows_what_it_writes_to_writes_to_everything() {
    let mut host = Host::armed();
    host.writers = vec![ANY_DEVICE];
    host.beat(8000);
    host.beat(8001);
    assert!(host.is_latched() && !host.is_clean());
}

/// R6: what it wrote after that nobody has waited for.
#[test]
fn what_was_shown_quiet_while_it_was_there_does_not_count() {
    let target = QuiesceTarget { kind: StorageKind::Iscsi, device: 1 };
    let mut host = Host::armed();
    host.agent.quiesce = vec![target.clone()];
    host.renew(0);
    host.writers = vec![1];
    host.beat(8000);
    host.fencer.handle_quiesced(&target, at(8001), Quiet::Acknowledged);
    host.beat(8100);
    host.writers.clear();
    host.beat(8200);
    host.beat(8300);
    assert!(!host.is_clean() && host.fencer.owes_quiet(&target));
    host.fencer.handle_quiesced(&target, at(8301), Quiet::Acknowledged);
    host.beat(8310);
    assert!(host.is_clean());
}

#[test]
fn more_of_them_than_can_be_kept_leave_no_storage_free() {
    let mut host = Host::armed();
    host.writers = (100..2000).collect();
    host.beat(8000);
    host.beat(8001);
    assert!(!host.is_clean());
}
