//! What the API asks of the main loop. Each question carries the place for its answer; a question whose asker has gone
//! is answered into nothing.

use leasefence_api::{Answer, DrillRequest, LeaseList, Status, VerdictAnswer};
use leasefence_core::ids::Incarnation;
use leasefence_core::member::Request;
use tokio::sync::{mpsc, oneshot, watch};

/// A question.
#[derive(Debug)]
pub(crate) enum Ask {
    /// All that there is to say.
    Status(oneshot::Sender<Box<Status>>),
    /// What is said of a host, or of one of its earlier lives; none when no host of this name has a slot.
    Verdict {
        /// Its name.
        host: String,
        /// Which life; the present one when absent.
        incarnation: Option<Incarnation>,
        /// The answer.
        answer: oneshot::Sender<Result<VerdictAnswer, String>>,
    },
    /// Something that the member does.
    Change(Request, oneshot::Sender<Answer>),
    /// Lifts a domain's hold.
    Resume {
        /// Name or uuid.
        domain: String,
        /// The answer.
        answer: oneshot::Sender<Answer>,
    },
    /// Writes a domain's protection into its metadata.
    Ha {
        /// Name or uuid.
        domain: String,
        /// Restart it elsewhere, or not.
        enabled: bool,
        /// The new priority, if it is to change.
        priority: Option<u8>,
        /// The answer.
        answer: oneshot::Sender<Answer>,
    },
    /// Rehearses a failure.
    Drill {
        /// Which, and who may die of it.
        request: DrillRequest,
        /// The answer.
        answer: oneshot::Sender<Answer>,
    },
    /// The domain leases, of all domains or of one.
    Leases {
        /// Name or uuid; all when absent.
        domain: Option<String>,
        /// The answer.
        answer: oneshot::Sender<Result<LeaseList, String>>,
    },
    /// The metrics' text.
    Metrics(oneshot::Sender<String>),
}

/// The way to the main loop, and the sign that something has changed there.
#[derive(Clone, Debug)]
pub(crate) struct Asker {
    /// Questions.
    pub(crate) asks: mpsc::Sender<Ask>,
    /// Changes whenever the member was told something: a verdict may be another then.
    pub(crate) revision: watch::Receiver<u64>,
}

impl Asker {
    /// Asks, and waits for the answer; none when the main loop has ended.
    pub(crate) async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(question(answer)).await.ok()?;
        answered.await.ok()
    }
}
