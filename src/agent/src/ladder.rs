//! What the fencer did at the last end of a lease, for people: in the journal once it is over, and in the status.

use leasefence_api::FenceInfo;
use leasefence_core::fencing::FencerHalf;
use leasefence_page::Rungs;

/// What was read, and what was told.
#[derive(Debug, Default)]
pub(crate) struct Ladder {
    rungs: Option<Rungs>,
    told: Option<Rungs>,
}

impl Ladder {
    /// Takes what the page shows. Words for the journal, where a fence is over, as far as it goes, and was not told like that.
    pub(crate) fn heard(&mut self, rungs: Option<Rungs>, half: &FencerHalf) -> Option<String> {
        self.rungs = rungs;
        let rungs = rungs.filter(|rungs| rungs.incarnation == half.incarnation)?;
        let is_over = half.latched.is_some() && (half.clean.is_some() || half.unproven);
        (is_over && self.told.replace(rungs) != Some(rungs)).then(|| words(&rungs))
    }

    /// For the status.
    pub(crate) fn info(&self) -> Option<FenceInfo> {
        let rungs = self.rungs?;
        Some(FenceInfo {
            generation: rungs.incarnation.generation.0,
            signalled: rungs.signalled,
            not_signalled: rungs.not_signalled,
            signalled_ms: rungs.signalled_ms,
            cgroups: rungs.cgroups,
            cgroups_left: rungs.cgroups_left,
            exits: rungs.exits,
            left: rungs.left,
            exits_ms: rungs.exits_ms,
            storages: rungs.storages,
            quiet: rungs.quiet,
            reset_ms: rungs.reset_ms,
        })
    }
}

fn words(rungs: &Rungs) -> String {
    let at = |time: Option<u32>| time.map(|ms| format!(" by {ms} ms")).unwrap_or_default();
    let reset = rungs.reset_ms.map(|ms| format!("; reset tried at {ms} ms")).unwrap_or_default();
    format!(
        "the fence of {}, after the lease's end: {} processes killed{}, {} could not be signalled; cgroups: {} killed, {} left alone; \
         {} exits seen{}, {} left; {} of {} storages quiet{reset}",
        rungs.incarnation,
        rungs.signalled,
        at(rungs.signalled_ms),
        rungs.not_signalled,
        rungs.cgroups,
        rungs.cgroups_left,
        rungs.exits,
        at(rungs.exits_ms),
        rungs.left,
        rungs.quiet,
        rungs.storages,
    )
}

#[cfg(test)]
mod tests {
    use leasefence_core::fencing::Clean;
    use leasefence_core::ids::{Generation, Incarnation, Slot};
    use leasefence_core::time::{HolderDeadline, Instant};

    use super::*;

    #[test]
    fn a_fence_is_told_once_it_is_over_and_again_only_when_more_was_done() {
        let incarnation = Incarnation { slot: Slot(3), generation: Generation(5) };
        let rungs = Rungs { incarnation, signalled: 2, signalled_ms: Some(1), ..Rungs::default() };
        let latched = Some(HolderDeadline(Instant::default()));
        let mut half = FencerHalf { incarnation, latched, ..FencerHalf::default() };
        let mut ladder = Ladder::default();
        assert_eq!(ladder.heard(Some(rungs), &half), None, "it goes on");
        half.clean = Some(Clean { generation: Generation(5), at: Instant::default(), forced: false });
        let told = ladder.heard(Some(rungs), &half).expect("it is over");
        assert!(told.contains("2 processes killed by 1 ms"), "{told}");
        assert_eq!(ladder.heard(Some(rungs), &half), None);
        let exits = Rungs { exits: 2, exits_ms: Some(40), ..rungs };
        assert!(ladder.heard(Some(exits), &half).is_some_and(|told| told.contains("2 exits seen by 40 ms")));
        assert_eq!(ladder.info().map(|info| (info.generation, info.exits)), Some((5, 2)));
        // The next life has had no end yet.
        half.incarnation.generation = Generation(6);
        assert_eq!(ladder.heard(Some(rungs), &half), None);
    }
}
