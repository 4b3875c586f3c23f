//! The machines' wall clocks, compared with this machine's. Leasefence never compares clocks; a story of several machines must.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::lab::{Lab, LabError};
use crate::machine::hypervisors;

/// How often each machine is asked.
const READINGS: usize = 4;

/// By how much each machine's clock is ahead, in nanoseconds.
#[derive(Clone, Default, Debug)]
pub struct Clocks(HashMap<&'static str, i128>);

impl Clocks {
    /// Asks all hypervisors that are on. A machine's answer is as exact as half the time that it takes: some 50 ms, and seconds on a busy
    /// machine, so each is asked some times and its quickest answer counts.
    ///
    /// # Errors
    /// When one does not answer.
    pub fn read(lab: &Lab) -> Result<Self, LabError> {
        let mut clocks = Self::default();
        for host in hypervisors().filter(|host| lab.is_on(host)) {
            lab.exec(host, "true")?;
            let mut quickest = i128::MAX;
            for _ in 0..READINGS {
                let before = nanoseconds(SystemTime::now());
                let answer = lab.exec(host, "date +%s%N")?;
                let after = nanoseconds(SystemTime::now());
                if let Ok(there) = answer.trim().parse::<i128>()
                    && after - before < quickest
                {
                    quickest = after - before;
                    clocks.0.insert(host, there - i128::midpoint(before, after));
                }
            }
        }
        Ok(clocks)
    }

    /// A host's wall time as this machine's.
    #[must_use]
    pub fn here(&self, host: &str, since_1970: Duration) -> SystemTime {
        let ahead = self.0.get(host).copied().unwrap_or_default();
        let there = i128::try_from(since_1970.as_nanos()).unwrap_or_default();
        UNIX_EPOCH + Duration::from_nanos(u64::try_from(there - ahead).unwrap_or_default())
    }
}

fn nanoseconds(time: SystemTime) -> i128 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i128::try_from(since.as_nanos()).unwrap_or_default()
}
