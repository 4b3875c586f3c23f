//! What must hold in every state of the lease model (PROTOCOL 4): one live owner, whose acknowledged entry is the top; one
//! process; and a domain that runs for its user is never lost.

use leasefence_core::format::LeaseState;

use super::DOMAIN;
use super::sectors::{newest, top_of};
use super::world::{Wish, World};

impl World {
    /// What is wrong in this state.
    pub(super) fn violation(&self) -> Option<String> {
        let running = self.hosts.iter().filter(|host| host.runs()).count();
        if running > 1 {
            return Some("two copies of the domain run".to_owned());
        }
        if self.hosts.iter().filter(|host| host.owns()).count() > 1 {
            return Some("two live hosts own the domain".to_owned());
        }
        if let Some(slot) = self.overtaken_owner() {
            return Some(format!("host {slot} owns the domain, acknowledged, and its entry is not the top"));
        }
        let top =
            self.disk.iter().filter_map(|copies| top_of(newest(*copies))).max_by_key(|entry| entry.term);
        let findable = top.is_some_and(|top| matches!(top.state, LeaseState::Own | LeaseState::Orphan));
        if self.keeps_all && self.wish == Wish::Runs && running == 0 && !findable {
            return Some("the domain of a dead host can never be found again".to_owned());
        }
        self.wrong.map(str::to_owned)
    }

    fn overtaken_owner(&self) -> Option<u16> {
        let owner = self.hosts.iter().find(|host| host.owns())?;
        let term = owner.leases()?.entry(DOMAIN)?.term;
        let others = (0_u16..).zip(&self.disk).filter(|(slot, _)| *slot != owner.slot);
        let overtaken =
            others.filter_map(|(_, copies)| top_of(newest(*copies))).any(|entry| entry.term >= term);
        overtaken.then_some(owner.slot)
    }
}
