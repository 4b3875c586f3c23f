//! What must always be so: one file for each sentence, headed by it. Judges see everything that happens and the whole
//! truth; they never change the world.

mod cluster_answers;
mod convicted;
mod definitions;
mod disarms;
mod drops;
mod evidence_is_stable;
mod evidence_is_true;
mod kills_have_reasons;
mod liveness;
mod locks;
mod moves;
mod never_revived;
mod one_claim;
mod one_holder;
mod one_life;
mod one_owner;
mod one_start;
mod one_writer;
mod page_is_whole;
mod pages;
mod pets;
mod receipts;
mod requests;
mod resets;
mod sources;
mod tolerance;
mod verdicts;
mod wants;
mod whole_cluster;

use std::fmt;

use leasefence_core::ids::{DomainId, Incarnation, Term};
use leasefence_core::member::{ClusterAsk, RequestId};

use crate::plan::{Class, Plan};
use crate::world::World;

/// What just happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Happened {
    /// A run began.
    Began { run: usize },
    /// The CPUs of a process run that was there: it has come in, or goes on after its migration.
    Resumed { run: usize, by: By },
    /// A process is set up for a user's start whose CPUs run later.
    SetUp { run: usize },
    /// A run was killed.
    Killed { run: usize },
    /// Bytes reached the lease file.
    Landed { client: usize, offset: u64, len: usize },
    /// No entry of a domain is left: its next start begins with the first term.
    Forgotten { domain: usize },
    /// A client issues a write into a lease page.
    Issued { client: usize },
    /// An observer took the answer of the storage: what it knows may have changed.
    Scanned { host: usize },
    /// A fencer wrote its half of the page.
    Published { host: usize },
    /// A fencer looked at a page that a fault has struck.
    PageRead { host: usize },
    /// The watchdog was petted.
    Petted { host: usize },
    /// A host's core asked for a start.
    Permitted { host: usize, domain: DomainId, term: Term },
    /// A host's agent has moved an end that had passed.
    Revived { host: usize },
    /// A host's agent has gone back to an earlier sequence.
    WentBack { host: usize },
    /// A host's agent calls itself by a name that it had not in this boot.
    Named { host: usize, incarnation: Incarnation },
    /// A fencer has written that it lets go.
    LetGo { host: usize },
    /// A process takes an operator's request to the whole cluster.
    Asked { host: usize, id: RequestId, ask: ClusterAsk },
    /// A request was answered.
    Answered { host: usize, id: RequestId, done: bool },
    /// A host does what another one asks of the whole cluster.
    Followed { host: usize, by: usize, ask: ClusterAsk },
    /// All is over: it must be well again.
    End,
}

/// Who lets a guest go on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum By {
    /// Libvirt, which knows nothing of leases.
    Libvirt,
    /// The host's agent, which has found that nobody else has it.
    Agent,
}

/// What was violated, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// The sentence.
    pub sentence: &'static str,
    /// What was seen.
    pub seen: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VIOLATED: {} {}", self.sentence, self.seen)
    }
}

/// Looks for one violation.
pub(crate) trait Judge: fmt::Debug + Send {
    /// The sentence that it checks.
    fn sentence(&self) -> &'static str;
    /// What it sees against it.
    fn judge(&mut self, world: &World, happened: &Happened) -> Option<String>;
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Judges(Vec<Box<dyn Judge>>);

impl Judges {
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut judges: Vec<Box<dyn Judge>> = vec![
            Box::new(one_writer::OneWriter),
            Box::new(evidence_is_true::EvidenceIsTrue::default()),
            Box::new(evidence_is_stable::EvidenceIsStable::default()),
            Box::new(receipts::Receipts),
            Box::new(one_holder::OneHolder),
            Box::new(one_owner::OneOwner::default()),
            Box::new(one_start::OneStart::default()),
            Box::new(never_revived::NeverRevived::default()),
            Box::new(definitions::Definitions::default()),
            Box::new(pets::Pets),
            Box::new(kills_have_reasons::KillsHaveReasons::default()),
            Box::new(one_life::OneLife::default()),
            Box::new(one_claim::OneClaim::default()),
            Box::new(pages::Pages::new(plan.is_scene() && !plan.classes.contains(&Class::Migrations))),
            Box::new(page_is_whole::PageIsWhole),
            Box::new(disarms::Disarms),
            Box::new(drops::Drops::default()),
            Box::new(wants::Wants::default()),
            Box::new(convicted::Convicted::default()),
            Box::new(moves::Moves),
            Box::new(cluster_answers::ClusterAnswers::default()),
            Box::new(whole_cluster::WholeCluster::default()),
            Box::new(sources::Sources::default()),
        ];
        if plan.classes == [Class::Tolerated] {
            judges.push(Box::new(tolerance::Tolerance));
        }
        if plan.is_scene() {
            judges.push(Box::new(verdicts::Verdicts::default()));
            judges.push(Box::new(locks::Locks));
            if plan.classes == [Class::Fences] {
                judges.push(Box::new(requests::Requests));
            }
            if plan.classes == [Class::Resets] {
                judges.push(Box::new(resets::Resets));
            }
            if matches!(plan.classes[..], [Class::Losses | Class::Migrations | Class::Sources | Class::Takes])
            {
                judges.push(Box::new(liveness::Liveness));
            }
        } else if !plan.breaks_assumptions() {
            judges.push(Box::new(liveness::Liveness));
        }
        Self(judges)
    }

    pub(crate) fn judge(&mut self, world: &World, happened: &Happened) -> Option<Violation> {
        self.0.iter_mut().find_map(|judge| {
            let seen = judge.judge(world, happened)?;
            Some(Violation { sentence: judge.sentence(), seen })
        })
    }
}
