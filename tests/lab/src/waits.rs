//! How long the emulated machines wait for a processor of this one. Leases are about time: a host that was not run for seconds on end
//! loses its lease, and that says nothing about Leasefence.

use std::fmt;
use std::fs;
use std::time::{Duration, SystemTime};

use crate::lab::Lab;
use crate::machine::MACHINES;

/// How often it is looked at.
pub(crate) const PERIOD: Duration = Duration::from_secs(1);

/// In as many periods together the longest wait is looked for: a watchdog bites after these.
const WINDOW: usize = 5;

/// The thread of a QEMU that runs its machine's one processor.
const PROCESSOR: &str = "CPU 0/TCG";

/// How long each machine has waited in a period.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Waited {
    at: SystemTime,
    machines: [Duration; MACHINES.len()],
}

/// Looks at the machines of a lab, again and again.
#[derive(Debug)]
pub(crate) struct Waits {
    lab: Lab,
    /// Since each was switched on, as the kernel counts.
    totals: [Duration; MACHINES.len()],
}

impl Waits {
    pub(crate) fn of(lab: &Lab) -> Self {
        Self { lab: lab.clone(), totals: MACHINES.map(|machine| total(lab, machine.name)) }
    }

    /// Since the last look. One that was switched on meanwhile has waited since then.
    pub(crate) fn look(&mut self) -> Waited {
        let before = self.totals;
        self.totals = MACHINES.map(|machine| total(&self.lab, machine.name));
        let mut machines = self.totals;
        for (total, before) in machines.iter_mut().zip(before) {
            *total = if *total < before { *total } else { *total - before };
        }
        Waited { at: SystemTime::now(), machines }
    }
}

/// All that a machine's processor has waited for one of this machine.
fn total(lab: &Lab, machine: &str) -> Duration {
    let waited = || {
        let pid = lab.run_dir().process(machine)?.pid;
        let mut threads = fs::read_dir(format!("/proc/{pid}/task")).ok()?.flatten();
        let processor = threads.find(|thread| {
            fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| name.trim_end() == PROCESSOR)
        })?;
        // Nanoseconds that it ran, nanoseconds that it waited, and how often it ran.
        let text = fs::read_to_string(processor.path().join("schedstat")).ok()?;
        text.split_whitespace().nth(1)?.parse().ok().map(Duration::from_nanos)
    };
    waited().unwrap_or_default()
}

/// The longest that a machine has waited in any five seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LongestWait {
    machine: &'static str,
    waited: Duration,
}

impl LongestWait {
    /// Of these periods from `start` on; none when there are too few.
    pub(crate) fn among(periods: &[Waited], start: SystemTime) -> Option<Self> {
        let periods: Vec<_> = periods.iter().filter(|period| period.at >= start).collect();
        let sums = periods.windows(WINDOW).flat_map(|window| {
            MACHINES.iter().enumerate().map(|(place, machine)| Self {
                machine: machine.name,
                waited: window.iter().map(|period| period.machines[place]).sum(),
            })
        });
        sums.max_by_key(|wait| wait.waited)
    }
}

impl fmt::Display for LongestWait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (machine, waited) = (self.machine, self.waited.as_secs_f64());
        write!(f, "{machine} waited up to {waited:.1} s of {WINDOW} for a processor of this machine")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_wait_is_that_of_one_machine_in_consecutive_periods() {
        let start = SystemTime::UNIX_EPOCH;
        let period = |second: u64, host_1: u64| {
            let mut machines = [Duration::from_millis(100); MACHINES.len()];
            machines[1] = Duration::from_millis(host_1);
            Waited { at: start + Duration::from_secs(second), machines }
        };
        let waits = [900, 0, 0, 0, 0, 0, 700, 0, 0, 800, 0, 0];
        let periods: Vec<_> = (0..).zip(waits).map(|(second, wait)| period(second, wait)).collect();
        let longest = LongestWait::among(&periods, start).unwrap();
        assert_eq!((longest.machine, longest.waited), ("host-1", Duration::from_millis(1500)));
        assert_eq!(LongestWait::among(&periods[..4], start), None);
        let late = LongestWait::among(&periods, start + Duration::from_secs(7)).unwrap();
        assert_eq!((late.machine, late.waited), ("host-1", Duration::from_millis(800)));
    }
}
