//! The agent's own test switch, for `leasefence drill`: a storage that seems to stand still, and a lease that is ended.
//!
//! It can only weaken towards fencing (R8). What is kept from the storage was never issued, so nothing of it can land unseen (R5); it is
//! issued once the time is over, in order, stamped then by the storage thread. A process that ends forgets it.

use std::time::Duration;

use leasefence_api::{Answer, DrillAct, DrillRequest};
use leasefence_config::DrillPolicy;
use leasefence_core::fencing::StartToken;
use leasefence_core::ids::DomainId;
use leasefence_core::member::{DomainStatus, LogLevel, Request};
use leasefence_core::storage::IoRequest;
use leasefence_core::time::{Instant, ObserverDeadline};
use tokio::sync::oneshot;

use crate::engine::Engine;

/// What is kept from the storage, and until when.
#[derive(Debug, Default)]
pub(crate) struct Stall {
    until: Option<ObserverDeadline>,
    held: Vec<IoRequest>,
}

impl Stall {
    /// The request, if it may go to the storage now. Else it is kept.
    pub(crate) fn pass(&mut self, request: IoRequest) -> Option<IoRequest> {
        if self.until.is_none() {
            return Some(request);
        }
        self.held.push(request);
        None
    }

    /// True while a drill keeps this agent from its storage.
    pub(crate) fn is_on(&self) -> bool {
        self.until.is_some()
    }

    fn begin(&mut self, now: Instant, duration: Duration) -> Result<(), String> {
        if self.until.is_some() {
            return Err("a drill keeps this agent from its storage already: wait for its end".to_owned());
        }
        self.until = Some(ObserverDeadline(now.plus(duration)));
        Ok(())
    }

    /// What was kept, once the time is over; none while it is not, or nothing is kept.
    fn end_when_due(&mut self, now: Instant) -> Option<Vec<IoRequest>> {
        self.until.filter(|until| until.reached(now))?;
        self.until = None;
        Some(std::mem::take(&mut self.held))
    }
}

impl Engine {
    /// Does to this host what a failure would do, if it may.
    pub(crate) fn drill(&mut self, request: &DrillRequest, answer: oneshot::Sender<Answer>) {
        if let Err(text) = self.permits(request) {
            drop(answer.send(Answer { ok: false, text }));
            return;
        }
        match request.act {
            DrillAct::EndLease => {
                self.request(Request::EndOwn { reason: "a drill ends it".to_owned() }, answer);
            }
            DrillAct::StallStorage { for_ms } => {
                let duration = Duration::from_millis(for_ms);
                let begun = self.stall.begin(leasefence_clock::instant(), duration);
                let (ok, text) = match begun {
                    Ok(()) => {
                        (true, format!("a drill keeps this agent from its lease's storage for {for_ms} ms"))
                    }
                    Err(text) => (false, text),
                };
                if ok {
                    self.say(LogLevel::Warn, "drill", text.clone());
                }
                drop(answer.send(Answer { ok, text }));
            }
        }
    }

    /// Gives the storage what was kept from it, once the time is over.
    pub(crate) fn end_stall_when_due(&mut self) {
        let Some(held) = self.stall.end_when_due(leasefence_clock::instant()) else { return };
        self.say(LogLevel::Warn, "drill", "this agent reaches its lease's storage again".to_owned());
        held.into_iter().for_each(|request| self.submit(request));
    }

    fn permits(&mut self, request: &DrillRequest) -> Result<(), String> {
        let now = leasefence_clock::now();
        let status = self.member.as_ref().map(|member| member.status(&now));
        let status = status.ok_or_else(|| format!("the agent has not begun yet: {}", self.waiting_for()))?;
        if status.own.state != "held" {
            return Err(format!(
                "this host holds no lease that a drill could end: it is {}",
                status.own.state
            ));
        }
        let longest = status.own.terms.takeover().saturating_mul(2);
        if let DrillAct::StallStorage { for_ms } = request.act
            && (for_ms == 0 || Duration::from_millis(for_ms) > longest)
        {
            return Err(format!(
                "a stall of {for_ms} ms is not allowed: from 1 to {} ms are",
                longest.as_millis()
            ));
        }
        let half = self.fencer.as_mut().and_then(|fencer| fencer.read());
        let unknown = half
            .is_none_or(|half| half.processes.iter().any(|process| process.domain == DomainId::default()));
        let own = self.fencer.as_ref().and_then(|fencer| fencer.sight().own());
        let tokens = own.map(|half| half.tokens.as_slice()).unwrap_or_default();
        may(self.parts.config.drill, &request.domains, &status.domains, tokens, unknown)
    }
}

/// Whether the operator's word covers all that would die. Pure, so that every refusal can be tested.
fn may(
    policy: DrillPolicy,
    named: &[String],
    domains: &[DomainStatus],
    tokens: &[StartToken],
    unknown: bool,
) -> Result<(), String> {
    if policy != DrillPolicy::Allowed {
        return Err("drills are not allowed on this host: set drill = \"allowed\" in its configuration and restart its agent"
            .to_owned());
    }
    if unknown {
        return Err("what runs here is not known of every QEMU process, and all would be destroyed: see `leasefence status`".to_owned());
    }
    let spared = |domain: DomainId| !named.contains(&domain.to_string());
    if let Some(token) = tokens.iter().find(|token| spared(token.domain)) {
        return Err(format!(
            "domain {} is being started here, and would be destroyed: try again",
            token.domain
        ));
    }
    let dies = |domain: &&DomainStatus| domain.running && domain.protected && spared(domain.domain);
    let others: Vec<_> = domains.iter().filter(dies).map(|domain| domain.name.as_str()).collect();
    if others.is_empty() {
        return Ok(());
    }
    Err(format!(
        "protected domains that were not named run here, and would be destroyed: {}",
        others.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use leasefence_core::storage::{IoId, IoOp};

    use super::*;

    fn request(id: u64) -> IoRequest {
        IoRequest { id: IoId(id), op: IoOp::Read { offset: 0, len: 512 } }
    }

    fn at(ms: u64) -> Instant {
        Instant { boot_ns: ms * 1_000_000, raw_ns: ms * 1_000_000 }
    }

    #[test]
    fn a_stall_keeps_everything_until_its_end_and_then_gives_it_back_in_order() {
        let mut stall = Stall::default();
        assert!(stall.pass(request(1)).is_some(), "there is none yet");
        stall.begin(at(0), Duration::from_secs(5)).expect("it begins");
        assert!(stall.pass(request(2)).is_none() && stall.pass(request(3)).is_none());
        assert_eq!(stall.end_when_due(at(4_999)), None);
        assert!(stall.begin(at(4_999), Duration::from_secs(5)).is_err(), "it cannot be made longer");
        assert_eq!(stall.end_when_due(at(5_000)), Some(vec![request(2), request(3)]));
        assert!(stall.pass(request(4)).is_some(), "it is over");
        assert_eq!(stall.end_when_due(at(9_000)), None);
    }

    fn domain(number: u8, running: bool, protected: bool) -> DomainStatus {
        DomainStatus {
            domain: DomainId([number; 16]),
            name: format!("guest-{number}"),
            running,
            protected,
            ha: true,
            priority: 0,
            lease: "own".to_owned(),
            term: None,
            hold: false,
        }
    }

    /// Catches a drill that destroys a guest nobody has named.
    #[test]
    fn a_drill_is_refused_while_a_protected_domain_runs_that_was_not_named() {
        let named = [DomainId([1; 16]).to_string()];
        let all = [domain(1, true, true), domain(2, false, true), domain(3, true, false)];
        assert_eq!(may(DrillPolicy::Allowed, &named, &all, &[], false), Ok(()), "one is off, one is exempt");
        let all = [domain(1, true, true), domain(4, true, true)];
        let text = may(DrillPolicy::Allowed, &named, &all, &[], false).expect_err("it would die");
        assert!(text.ends_with("would be destroyed: guest-4"), "{text}");
        assert!(
            may(DrillPolicy::Allowed, &named, &all[..1], &[], true).is_err(),
            "nobody knows whose process that is"
        );
    }

    /// Catches: a guest whose start was permitted a moment ago, which runs by the time its lease ends.
    #[test]
    fn a_drill_is_refused_while_a_domain_is_being_started_that_was_not_named() {
        let named = [DomainId([1; 16]).to_string()];
        let token = |number| StartToken { domain: DomainId([number; 16]), ..StartToken::default() };
        assert_eq!(may(DrillPolicy::Allowed, &named, &[], &[token(1)], false), Ok(()));
        let text = may(DrillPolicy::Allowed, &named, &[], &[token(2)], false).expect_err("it would die");
        assert!(text.contains("is being started here"), "{text}");
    }

    #[test]
    fn a_drill_is_refused_unless_the_configuration_allows_it() {
        let text = may(DrillPolicy::Refused, &[], &[], &[], false).expect_err("the default");
        assert!(text.contains("drill = \"allowed\""), "{text}");
    }
}
