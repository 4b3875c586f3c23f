//! Slot claims: nothing of it is searched yet.

use crate::scenario::{Checked, Scenario, Size};
use crate::search::Model;

/// The model.
pub(crate) struct Slots;

impl Model for Slots {
    type State = ();
    type Step = ();

    fn initial(&self) {}

    fn steps(&self, (): &(), _: &mut Vec<()>) {}

    fn take(&self, (): &(), (): &()) -> Option<()> {
        None
    }

    fn violation(&self, (): &()) -> Option<String> {
        None
    }

    fn is_reached(&self, (): &()) -> bool {
        false
    }

    fn describe(&self, _: &[()], (): &(), (): &()) -> String {
        String::new()
    }
}

impl Checked for Slots {
    const NAME: &'static str = "slot";

    fn scenarios(_: Size) -> Vec<Scenario<Self>> {
        Vec::new()
    }

    #[cfg(feature = "planted-bugs")]
    fn wrong_rules() -> Vec<(leasefence_core::planted::Bug, Scenario<Self>)> {
        Vec::new()
    }
}
