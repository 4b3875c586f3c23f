//! An image that is locked still is no failure of its domain.

use leasefence_core::format::RecordCopy;

use super::{Happened, Judge};
use crate::plan::FaultKind;
use crate::world::World;

/// Reads the pages at the end of plans in which images are locked and no start fails.
#[derive(Debug)]
pub(super) struct Locks;

impl Judge for Locks {
    fn sentence(&self) -> &'static str {
        "An image that is locked still is no failure of its domain."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        if *happened != Happened::End {
            return None;
        }
        let locked =
            |kind: &FaultKind| matches!(kind, FaultKind::ImageLocked { .. } | FaultKind::PowerLoss { .. });
        let has_lock =
            world.plan.faults.iter().any(|fault| matches!(fault.kind, FaultKind::ImageLocked { .. }));
        if !has_lock || !world.plan.faults.iter().all(|fault| locked(&fault.kind)) {
            return None;
        }
        let layout = &world.file.layout;
        for slot in layout.slots() {
            for page in 0..layout.pages() {
                let Some(page) = world.file.lease_page(page, slot, RecordCopy::A) else { continue };
                if let Some(entry) = page.entries().find(|entry| entry.failures > 0) {
                    return Some(format!(
                        "slot {slot} counts {} failures of {}",
                        entry.failures, entry.domain
                    ));
                }
            }
        }
        None
    }
}
