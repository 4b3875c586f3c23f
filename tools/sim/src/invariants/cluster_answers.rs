//! Whoever asked the whole cluster for maintenance is told that all have followed only when no host stands as it stood before that,
//! but those that are known to be gone (PROTOCOL 6).

use std::collections::BTreeMap;

use leasefence_core::fencing::Wish;
use leasefence_core::ids::Incarnation;
use leasefence_core::member::{ClusterAsk, RequestId};

use super::{Happened, Judge};
use crate::world::World;

/// A host that guards, or that is in maintenance: in which boot, under which name, since which arming.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Stands {
    host: usize,
    boot: u32,
    life: Incarnation,
    arm_count: u32,
}

/// Remembers of each request who had not done yet what it asks for: one that does, and is told the opposite then, stands otherwise.
#[derive(Debug, Default)]
pub(super) struct ClusterAnswers(BTreeMap<RequestId, (ClusterAsk, Vec<Stands>)>);

impl Judge for ClusterAnswers {
    fn sentence(&self) -> &'static str {
        "The whole cluster has followed when the answer says so."
    }

    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String> {
        match *happened {
            Happened::Asked { id, ask, .. } => {
                let left = (0..world.hosts.len()).filter_map(|host| stands(world, host, ask)).collect();
                self.0.insert(id, (ask, left));
                None
            }
            Happened::Answered { host, id, done } => {
                let (ask, left) = self.0.remove(&id)?;
                // What a process says that was stopped before it said it was so before.
                let says = done && !world.hosts[host].agent.resumes;
                let stays = |left: &&Stands| {
                    let is_gone = world.evidence_of(host, left.life).is_some();
                    !is_gone && stands(world, left.host, ask) == Some(**left)
                };
                left.iter().find(stays).filter(|_| says).map(|left| {
                    let other = left.host;
                    format!("host-{host} says that all follow ({ask:?}), and host-{other} has not since it was asked")
                })
            }
            _ => None,
        }
    }
}

/// Where a host stands that has not done yet what is asked for.
fn stands(world: &World, host: usize, ask: ClusterAsk) -> Option<Stands> {
    let this = &world.hosts[host];
    let half = &this.fencer.half;
    let is_left = match ask {
        ClusterAsk::Disarm => half.armed && half.latched.is_none() && !world.end_has_passed(host),
        ClusterAsk::Arm => !half.armed && this.page.as_ref().is_some_and(|page| page.wish == Wish::Disarm),
    };
    let stands = Stands { host, boot: this.boot, life: this.life()?, arm_count: half.arm_count };
    (this.powered && is_left).then_some(stands)
}
