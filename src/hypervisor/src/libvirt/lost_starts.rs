//! Starts whose connection broke before libvirt answered.
//!
//! Such a start may still lie unread in a socket of the daemon: "shut off, no job", asked over the next connection, can
//! overtake it. So of such a domain no "no job" is believed until a later connection has stood for a while, in which
//! the daemon has long read what lay there: it reads all its sockets in one loop, and the new connection's opening
//! alone takes several rounds of it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use leasefence_core::ids::DomainId;

use crate::{Activity, HypervisorError};

/// How long the later connection must have stood.
const OVERTAKING: Duration = Duration::from_secs(3);

/// The domains, each with the session on which its start was lost.
#[derive(Debug, Default)]
pub(super) struct LostStarts {
    sessions: Mutex<HashMap<DomainId, u64>>,
}

impl LostStarts {
    /// A start is sent over this session: until it is answered, its outcome is unknown.
    pub(super) fn lost(&self, domain: DomainId, session: u64) {
        self.lock().insert(domain, session);
    }

    /// The start over this session was answered after all.
    pub(super) fn answered(&self, domain: DomainId, session: u64) {
        let mut sessions = self.lock();
        if sessions.get(&domain) == Some(&session) {
            sessions.remove(&domain);
        }
    }

    /// What may be believed of an answer that was asked for over session `session`, of this age.
    pub(super) fn believe(
        &self,
        domain: DomainId,
        (session, age): (u64, Duration),
        answer: Result<Activity, HypervisorError>,
    ) -> Result<Activity, HypervisorError> {
        let mut sessions = self.lock();
        let Some(lost) = sessions.get(&domain).copied() else { return answer };
        if session > lost && age >= OVERTAKING {
            sessions.remove(&domain);
            return answer;
        }
        match answer {
            Ok(Activity::OffNoJob { last }) => Ok(Activity::Off { last }),
            Err(HypervisorError::NoSuchDomain(_)) => Err(HypervisorError::Away(format!(
                "the connection broke while {domain} was started, and that order may still reach the daemon"
            ))),
            other => other,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<DomainId, u64>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StopDetail;

    const YOUNG: Duration = Duration::from_millis(100);
    const OLD: Duration = Duration::from_secs(4);

    #[test]
    fn no_job_is_not_believed_before_a_later_connection_has_stood_for_a_while() {
        let (domain, last) = (DomainId([1; 16]), StopDetail::Unknown);
        let lost = LostStarts::default();
        let off_no_job = || Ok(Activity::OffNoJob { last });
        assert_eq!(lost.believe(domain, (1, OLD), off_no_job()), off_no_job(), "nothing was lost");

        lost.lost(domain, 1);
        let none = || Err(HypervisorError::NoSuchDomain(domain));
        assert_eq!(
            lost.believe(domain, (1, OLD), off_no_job()),
            Ok(Activity::Off { last }),
            "the same connection"
        );
        assert_eq!(lost.believe(domain, (2, YOUNG), off_no_job()), Ok(Activity::Off { last }));
        assert!(matches!(lost.believe(domain, (2, YOUNG), none()), Err(HypervisorError::Away(_))));
        let running = Ok(Activity::Running { paused: false });
        assert_eq!(
            lost.believe(domain, (2, YOUNG), running.clone()),
            running,
            "seen running is seen running"
        );
        assert_eq!(lost.believe(DomainId([2; 16]), (2, YOUNG), off_no_job()), off_no_job(), "another domain");
        assert_eq!(lost.believe(domain, (2, OLD), none()), none());
        assert_eq!(lost.believe(domain, (2, YOUNG), off_no_job()), off_no_job(), "believed from then on");
    }
}
