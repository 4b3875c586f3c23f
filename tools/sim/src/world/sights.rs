//! What a picture shows of each host: taken after each event where a story is kept, and kept where it has changed. It is
//! read from the truth, so that nothing in the world has to tell it.

use super::World;
use crate::story::{Process, RunSight, Sight};

impl World {
    pub(crate) fn take_sights(&mut self) {
        if !self.story.is_kept() {
            return;
        }
        for host in 0..self.hosts.len() {
            let sight = self.sight(host);
            self.story.see(self.at, host, sight);
        }
    }

    fn sight(&self, host: usize) -> Sight {
        let this = &self.hosts[host];
        let process = |there: bool, paused_until: u64| match (there, paused_until > self.at) {
            (false, _) => Process::Gone,
            (true, true) => Process::Stopped,
            (true, false) => Process::Runs,
        };
        let half = &this.fencer.half;
        let path = &self.clients[host].path;
        let here = self.runs.iter().enumerate().filter(|(_, run)| run.host == host && run.may_write(self.at));
        let run = |(number, run): (usize, &super::Run)| RunSight {
            run: number,
            domain: run.domain,
            killed: run.killed.is_some(),
            gone: !this.guests.contains(&number),
        };
        Sight {
            powered: this.powered,
            still: this.still_since.is_some(),
            agent: process(this.agent.member.is_some(), this.agent.paused_until),
            fencer: process(this.fencer.fencer.is_some(), this.fencer.paused_until),
            armed: this.powered && half.armed,
            latched: this.powered && half.latched.is_some(),
            requests_cut: path.requests_cut > 0,
            answers_cut: path.answers_cut > 0,
            runs: here.map(run).collect(),
        }
    }
}
