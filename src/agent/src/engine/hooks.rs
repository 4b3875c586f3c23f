//! Libvirt's hook before the member: its questions, its answers, and what it goes by while the agent is away. The member decides;
//! a permission is given only here, after a last read of the fencer's half.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use leasefence_api as api;
use leasefence_core::ids::DomainId;
use leasefence_core::member::{HookOperation, Input, Member, Reply, RequestId};
use leasefence_core::time::{Instant, Now};
use leasefence_hook::{Answer, LATER_FILE};
use leasefence_hypervisor::Definition;
use tokio::sync::oneshot;

use super::Engine;
use crate::event::Event;
use crate::hook::Asked;
use crate::start::lock;

/// Where libvirt looks for it.
const PLACE: &str = "/etc/libvirt/hooks/qemu.d/leasefence";

/// A hook that waits.
struct Waiting {
    name: String,
    domain: DomainId,
    /// Why its exemption does not count, where one was declared.
    not_exempt: Option<String>,
    definition: Option<Definition>,
    answer: oneshot::Sender<Answer>,
    /// True when libvirt goes by the answer.
    counts: bool,
    /// True when it comes in from a host that has stored its definition.
    migrates: bool,
}

/// What the hook was answered last.
#[derive(Clone, Debug)]
struct LastAnswer {
    at: Now,
    /// The domain's name.
    name: String,
    allowed: bool,
}

/// What is known of libvirt's hook.
#[derive(Default)]
pub(crate) struct Hooks {
    waiting: HashMap<RequestId, Waiting>,
    /// The last answer.
    last: Option<LastAnswer>,
    /// Domains that it has asked about.
    asked: BTreeSet<DomainId>,
    /// The domain of a process that has appeared without a question, for people.
    unasked: Option<DomainId>,
    /// True once the fencer's first list was seen: what runs since before this agent is no news.
    looked: bool,
}

impl Hooks {
    /// For `status`.
    pub(crate) fn info(&self, names: &BTreeMap<DomainId, String>) -> api::HookInfo {
        let last = self.last.as_ref().map(|last| api::HookAnswer {
            at_unix_ms: last.at.wall_ns / 1_000_000,
            domain: last.name.clone(),
            allowed: last.allowed,
        });
        let name = |domain| names.get(&domain).cloned().unwrap_or_else(|| domain.to_string());
        api::HookInfo { placed: Path::new(PLACE).exists(), last, unasked: self.unasked.map(name) }
    }

    /// What an operator should mend.
    pub(crate) fn warnings(&self, names: &BTreeMap<DomainId, String>) -> Vec<String> {
        let info = self.info(names);
        let mut warnings = Vec::new();
        if !info.placed {
            warnings.push(format!(
                "Libvirt's hook {PLACE} is not in place: domains may start here without their lease, and are killed then. Run `/usr/libexec/leasefence/place-hook place`."
            ));
        } else if let Some(domain) = info.unasked {
            warnings.push(format!(
                "Libvirt has started {domain} without asking the hook: it looks for hooks when it starts. Restart it (guests run on)."
            ));
        }
        warnings
    }

    pub(super) fn waits(&self, id: RequestId) -> bool {
        self.waiting.contains_key(&id)
    }

    fn take(&mut self, id: RequestId) -> Option<Waiting> {
        self.waiting.retain(|_, waiting| !waiting.answer.is_closed());
        self.waiting.remove(&id)
    }

    fn answer(&mut self, waiting: Waiting, answer: Answer) -> bool {
        let allowed = answer == Answer::Allow;
        if waiting.counts {
            self.last = Some(LastAnswer { at: leasefence_clock::now(), name: waiting.name, allowed });
        }
        waiting.answer.send(answer).is_ok()
    }
}

/// The reason of a denial, and why what was declared exempt needs a lease at all.
fn with_exemption(why: String, not_exempt: Option<&str>) -> String {
    match not_exempt {
        Some(not_exempt) => format!("{why}. {not_exempt}"),
        None => why,
    }
}

impl Engine {
    /// A question of the hook: its answer comes from the member.
    pub(super) fn hook_asks(&mut self, asked: Asked) {
        let Asked { name, question, not_exempt, definition, answer } = asked;
        self.hooks.asked.insert(question.domain);
        if self.member.is_none() {
            let told = question.operation == HookOperation::Release;
            let why = format!("this host's agent has not begun yet: {}", self.waiting_for());
            let why = with_exemption(why, not_exempt.as_deref());
            let said = if question.exempt || told { Answer::Allow } else { Answer::DenyForNow(why) };
            drop(answer.send(said));
            return;
        }
        let id = self.next_request();
        if let Some(definition) = &definition {
            lock(&self.parts.starter.given).insert(question.domain, definition.clone());
        }
        let counts = question.operation != HookOperation::Release;
        let migrates = matches!(question.operation, HookOperation::Migrate(_));
        let domain = question.domain;
        let waiting = Waiting { name, domain, not_exempt, definition, answer, counts, migrates };
        self.hooks.waiting.insert(id, waiting);
        self.input(Input::Hook(id, question));
    }

    /// The member's answer.
    pub(super) fn answer_hook(&mut self, id: RequestId, reply: Reply) {
        let Some(waiting) = self.hooks.take(id) else { return };
        self.forget_given(&waiting);
        let on_its_way = self.member.as_ref().is_some_and(Member::is_on_its_way);
        let why = |text| with_exemption(text, waiting.not_exempt.as_deref());
        let answer = match reply {
            Reply { ok: true, .. } => Answer::Allow,
            Reply { text, .. } if on_its_way => Answer::DenyForNow(why(text)),
            Reply { text, .. } => Answer::Deny(why(text)),
        };
        self.hooks.answer(waiting, answer);
    }

    /// A question is answered: no barrier for its start is asked for any more.
    fn forget_given(&self, waiting: &Waiting) {
        if waiting.definition.is_some() {
            lock(&self.parts.starter.given).remove(&waiting.domain);
        }
    }

    /// The token is in the page already: the member published it before.
    pub(super) fn permit_start(&mut self, id: RequestId, domain: DomainId, opened: Instant, is_new: bool) {
        let now = leasefence_clock::instant();
        // What was acquired right before a drill's stall would end with the lease.
        let permits =
            !self.stall.is_on() && self.fencer.as_mut().is_some_and(|fencer| fencer.permits_start(now));
        let mut waiting = self.hooks.take(id);
        waiting.iter().for_each(|waiting| self.forget_given(waiting));
        let definition = waiting.as_mut().and_then(|waiting| waiting.definition.take());
        let migrates = waiting.as_ref().is_some_and(|waiting| waiting.migrates);
        let permitted = waiting.is_some_and(|waiting| {
            let why = "this host's lease or its fencer cannot vouch for a start now: see `leasefence status`";
            let answer = if permits { Answer::Allow } else { Answer::Deny(why.to_owned()) };
            self.hooks.answer(waiting, answer) && permits
        });
        if permitted {
            if let Some(definition) = definition.filter(|_| is_new) {
                self.parts.store.store_given(domain, definition, migrates);
            }
        } else if is_new {
            drop(self.parts.events.send(Event::StartRefused(domain, opened)));
        }
    }

    /// The page says of these domains that they are exempt. Those that the configuration exempts are noted for the hook.
    pub(super) fn note_exempt(&mut self, exempt: &[DomainId]) {
        let words = &self.parts.config.protect.exempt;
        let configured = |domain: &&DomainId| {
            let named = self.names.get(*domain).is_some_and(|name| words.contains(name));
            named || words.contains(&domain.to_string())
        };
        // Before libvirt's first list nobody knows their names, nor has looked at what they write.
        if self.is_listed {
            self.parts.exempt_list.set(exempt.iter().filter(configured).copied().collect());
        }
    }

    /// Processes that the fencer has not shown before: libvirt must have asked about each, unless it does not know the hook.
    pub(super) fn look_for_unasked(&mut self, newcomers: &[DomainId]) {
        if !std::mem::replace(&mut self.hooks.looked, true) {
            self.hooks.asked.extend(newcomers);
        }
        let own = self.fencer.as_ref().and_then(|fencer| fencer.sight().own());
        let exempt = own.map(|half| half.exempt.as_slice()).unwrap_or_default();
        let unasked = |domain: &&DomainId| {
            let known = **domain != DomainId::default() && !exempt.contains(*domain);
            known && !self.hooks.asked.contains(*domain)
        };
        if let Some(domain) = newcomers.iter().find(unasked) {
            self.hooks.unasked = Some(*domain);
        }
    }

    /// What starts by itself and was denied while this host did not hold its lease is started, once it does.
    pub(super) fn start_what_was_denied_for_now(&mut self) {
        let run_dir = &self.parts.config.run_dir;
        let noted = run_dir.join(LATER_FILE).exists();
        let holds = |member: &Member| member.may_start_now(&leasefence_clock::now());
        if noted && self.member.as_ref().is_some_and(holds) {
            self.parts.starter.start_denied(self.parts.config.run_dir.clone());
        }
    }
}
