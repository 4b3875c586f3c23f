//! What operators and orchestrators ask of this host: each is refused with a sentence, or done and answered.

use super::fence_requests::{Ask, OPEN_FOR};
use super::phase::{Phase, WeakenStep, Weakening};
use super::{ClusterAsk, LogLevel, Member, Request, RequestId};
use crate::evidence::Verdict;
use crate::format::{ConvictionKind, FenceRequest, HostState};
use crate::ids::{DomainId, Incarnation, Slot};
use crate::time::Now;

/// A host whose record changed within this, or within 3 of its renewals, is not confirmed to be off.
const QUIET_FOR: std::time::Duration = std::time::Duration::from_secs(5);

impl Member {
    /// Takes a request; its reply comes as a command, at once or later.
    pub(super) fn request(&mut self, now: &Now, id: RequestId, request: Request) {
        let refused = match request {
            Request::Fence { host } => self.ask_to_fence(now, id, &host),
            Request::Confirm { host, reason } => self.confirm_host(now, id, &host, &reason),
            Request::Disarm => self.maintain(now, ClusterAsk::Disarm, Some(id)),
            Request::Arm => self.maintain(now, ClusterAsk::Arm, Some(id)),
            Request::Cluster(ask) => self.ask_cluster(now, id, ask),
            Request::Release => self.release(now, id),
            Request::EndOwn { reason } => self.end_own(now, id, &reason),
            Request::Resume { domain } => self.resume_domain(now, id, domain),
            Request::SlotFree { slot, machine } => self.free_slot(now, id, Slot(slot), machine),
        };
        if let Err(text) = refused {
            self.desk.reply(id, false, text);
        }
    }

    /// The host of this name, which must not be this one, while the own lease is held.
    fn other_host(&self, now: &Now, name: &str) -> Result<Incarnation, String> {
        if !matches!(self.phase, Phase::Held) || !self.lease_is_live(now.instant) {
            return Err("this host does not hold its own lease: ask on a host that does".to_owned());
        }
        let watch = self.watch.as_ref().ok_or("the lease file has not been read yet")?;
        let slot = watch
            .find(name)
            .ok_or_else(|| format!("no host '{name}' in this cluster (`leasefence status`)"))?;
        if Some(slot) == self.incarnation().map(|own| own.slot) {
            return Err(format!("'{name}' is this host: ask on another one"));
        }
        watch
            .slot(slot)
            .and_then(crate::watch::SlotWatch::incarnation)
            .ok_or_else(|| format!("the record of '{name}' is unreadable"))
    }

    fn ask_to_fence(&mut self, now: &Now, id: RequestId, name: &str) -> Result<(), String> {
        let target = self.other_host(now, name)?;
        let report = self.watch.as_ref().and_then(|watch| watch.report(target.slot, now.instant));
        match report.map(|report| report.view.verdict) {
            Some(Verdict::Gone { evidence, .. }) => {
                self.desk.reply(
                    id,
                    true,
                    format!("{name} ({target}) is gone already: {}", evidence.as_str()),
                );
                return Ok(());
            }
            Some(Verdict::Disarmed) => {
                return Err(format!("{name} is in maintenance: it has no lease to end"));
            }
            Some(Verdict::Joining { .. }) => {
                return Err(format!("{name} has no lease yet: there is nothing to fence"));
            }
            _ => {}
        }
        let nonce = u32::try_from(self.draw() >> 33).unwrap_or_default() | 1;
        let since_sequence = self.holder.as_ref().map(|holder| holder.issued().next()).unwrap_or_default();
        let request = FenceRequest { target, nonce, since_sequence };
        if !self.fence_requests.open(Ask { id, name: name.to_owned(), request, opened: now.instant }) {
            return Err("four fence requests of this host are open: wait for one of them to end".to_owned());
        }
        self.desk.note(LogLevel::Info, "fence-asked", format!("{name} ({target}) is asked to fence itself"));
        self.pass.hurry();
        Ok(())
    }

    /// Answers the own fence requests that are proven, or whose time is over.
    pub(super) fn close_fence_requests(&mut self, now: &Now) {
        let Some(watch) = &self.watch else { return };
        let closed = self.fence_requests.close(now.instant, |target| watch.evidence(target).is_some());
        for (ask, proven) in closed {
            let target = ask.request.target;
            if let Some((evidence, _)) =
                self.watch.as_ref().and_then(|watch| watch.evidence(target)).filter(|_| proven)
            {
                let text = format!("{} ({target}) is gone: {}", ask.name, evidence.as_str());
                self.desk.reply(ask.id, true, text);
            } else {
                let text =
                    format!("{} ({target}) has not proven its end within {} s", ask.name, OPEN_FOR.as_secs());
                self.desk.reply(ask.id, false, text);
            }
        }
    }

    fn confirm_host(&mut self, now: &Now, id: RequestId, name: &str, reason: &str) -> Result<(), String> {
        let target = self.other_host(now, name)?;
        let watch = self.watch.as_ref().ok_or("the lease file has not been read yet")?;
        if let Some((evidence, _)) = watch.evidence(target) {
            self.desk.reply(id, true, format!("{name} ({target}) is gone already: {}", evidence.as_str()));
            return Ok(());
        }
        let slot = watch.slot(target.slot);
        let renewals = slot.and_then(|slot| slot.record()).map(|record| record.terms.renewal_interval * 3);
        let needed = QUIET_FOR.max(renewals.unwrap_or_default());
        let quiet = slot.and_then(crate::watch::SlotWatch::shown_unchanged_for).unwrap_or_default();
        if quiet < needed {
            return Err(format!(
                "the record of {name} has been seen to stand still for {} s: a host that writes is not off. Refused until that is {} s",
                quiet.as_secs(),
                needed.as_secs()
            ));
        }
        self.desk.note(LogLevel::Warn, "confirm", format!("{name} ({target}) is said to be off: {reason}"));
        self.convictions.reply_to(target, id);
        self.convict(now, target, ConvictionKind::Confirmed);
        if self.convictions.waiting() > 0 {
            let text = "all 8 convictions of this host are in use; the confirmation waits for one to be free";
            self.desk.note(LogLevel::Warn, "convictions-full", text);
        }
        Ok(())
    }

    /// Begins to disarm this host, or takes back an arming that waits: for `id`, or for nobody here. What is under way already is
    /// refused to `id` only, which would wait for an answer.
    pub(super) fn disarm(&mut self, now: &Now, id: Option<RequestId>) -> Result<(), String> {
        match self.phase {
            Phase::Held => {
                self.weaken(now, HostState::Disarmed, id);
                Ok(())
            }
            Phase::Disarmed => {
                self.desk.reply_if_asked(id, true, "this host is disarmed already");
                Ok(())
            }
            // The page has not said `armed` yet, and its wish is to be disarmed: nothing has to be weakened.
            Phase::Adopting { resting: HostState::Disarmed } => {
                self.arm_wanted = false;
                let text = "taken back: this host was asked to disarm before it could be armed; it stays in maintenance";
                self.desk.note(LogLevel::Info, "arming", text);
                let waiting = self.arm_request.take();
                self.desk.reply_if_asked(waiting, false, text);
                self.desk.reply_if_asked(id, true, "the arming is taken back: this host stays disarmed");
                self.enter(now, Phase::Disarmed);
                self.publish();
                Ok(())
            }
            Phase::Weakening(Weakening { to: HostState::Disarmed, .. }) if id.is_none() => Ok(()),
            _ => Err(format!("this host cannot be disarmed now: it is {}", self.stands_at())),
        }
    }

    /// Begins to arm this host again, or takes back a disarm that no record shows yet: for `id`, or for nobody here. What is under
    /// way already is refused to `id` only.
    pub(super) fn arm_again(&mut self, now: &Now, id: Option<RequestId>) -> Result<(), String> {
        match self.phase {
            Phase::Held => {
                self.desk.reply_if_asked(id, true, "this host is armed already");
                Ok(())
            }
            Phase::Disarmed => {
                (self.arm_wanted, self.arm_request) = (true, id);
                self.enter(now, Phase::Adopting { resting: HostState::Disarmed });
                Ok(())
            }
            // Nothing weaker than `held` was issued yet. Later than this there is no way back but through `disarmed`.
            Phase::Weakening(Weakening {
                from: HostState::Held,
                to: HostState::Disarmed,
                request,
                step: WeakenStep::Draining,
            }) => {
                let text = "taken back: this host was asked to arm before its record said `disarmed`; it stays armed";
                self.desk.note(LogLevel::Info, "weakening", text);
                self.desk.reply_if_asked(request, false, text);
                self.desk.reply_if_asked(id, true, "the disarm is taken back: this host stays armed");
                self.enter(now, Phase::Held);
                self.publish();
                Ok(())
            }
            Phase::Adopting { resting: HostState::Disarmed }
            | Phase::Arming { resting: HostState::Disarmed, .. }
                if id.is_none() =>
            {
                Ok(())
            }
            _ => Err(format!("this host cannot be armed now: it is {}", self.stands_at())),
        }
    }

    fn release(&mut self, now: &Now, id: RequestId) -> Result<(), String> {
        if let Some(domain) = self.a_protected_domain() {
            return Err(format!("domain {domain} runs here: stop or migrate it first, then release"));
        }
        match self.phase {
            Phase::Held | Phase::Adopting { .. } | Phase::Disarmed => {
                self.weaken(now, HostState::Released, Some(id));
                Ok(())
            }
            _ => Err(format!("this host cannot release its slot now: it is {}", self.stands_at())),
        }
    }

    fn resume_domain(&mut self, now: &Now, id: RequestId, domain: DomainId) -> Result<(), String> {
        let resumed = self.with_leasing(now, |context, leasing| {
            let known = leasing.leases.entry(domain).is_some();
            leasing.leases.resume(domain);
            leasing.recoveries.resume(context, domain) || known
        });
        if resumed != Some(true) {
            return Err(format!(
                "this host knows of no recovery of domain {domain}; `leasefence lease list` shows whose it is"
            ));
        }
        self.desk.reply(id, true, format!("domain {domain} is recovered again"));
        Ok(())
    }
}
