//! Makes a failing plan small: fewer faults, then fewer hosts and domains, as long as the same still fails. It decides
//! nothing about what "the same" is, and keeps the numbers of the faults, so that the short plan is replayed by its seed.

use std::collections::BTreeSet;

use crate::plan::Plan;

/// A search for a smaller plan.
pub struct Shrinker<'a> {
    /// True for a plan that still fails in the same way.
    pub fails: &'a mut dyn FnMut(&Plan) -> bool,
    /// True when the time is over: the smallest so far is good enough.
    pub over: &'a mut dyn FnMut() -> bool,
}

impl Shrinker<'_> {
    /// The smallest plan that was found; the plan itself where nothing can be left out.
    pub fn shrink(&mut self, plan: &Plan) -> Plan {
        let mut plan = self.fewer_faults(plan.clone());
        loop {
            let before = plan.clone();
            plan = self.fewer_hosts(plan);
            plan = self.fewer_domains(plan);
            if plan == before || (self.over)() {
                return plan;
            }
            plan = self.fewer_faults(plan);
        }
    }

    fn still_fails(&mut self, plan: &Plan) -> bool {
        !(self.over)() && (self.fails)(plan)
    }

    /// Delta debugging: whole parts are left out first, then smaller ones, down to single faults.
    fn fewer_faults(&mut self, mut plan: Plan) -> Plan {
        let mut parts = 1;
        loop {
            let kept: Vec<usize> = plan.kept().map(|(number, _)| number).collect();
            if kept.is_empty() || (self.over)() {
                return plan;
            }
            let size = kept.len().div_ceil(parts);
            let smaller = kept.chunks(size).find_map(|part| {
                let rest: Vec<usize> = kept.iter().filter(|number| !part.contains(number)).copied().collect();
                let candidate = plan.with_faults(&rest);
                self.still_fails(&candidate).then_some(candidate)
            });
            match smaller {
                Some(smaller) => {
                    plan = smaller;
                    parts = parts.saturating_sub(1).max(1);
                }
                None if size == 1 => return plan,
                None => parts = (parts * 2).min(kept.len()),
            }
        }
    }

    fn fewer_hosts(&mut self, mut plan: Plan) -> Plan {
        for host in (0..plan.hosts.len()).rev() {
            let off: BTreeSet<usize> = plan.off.iter().copied().chain([host]).collect();
            let candidate = plan.without_hosts(&off.into_iter().collect::<Vec<_>>());
            if candidate != plan && !plan.hosts[host].spare && self.still_fails(&candidate) {
                plan = candidate;
            }
        }
        plan
    }

    fn fewer_domains(&mut self, mut plan: Plan) -> Plan {
        for domain in (0..plan.domains.len()).rev() {
            let unstarted: BTreeSet<usize> = plan.unstarted.iter().copied().chain([domain]).collect();
            let candidate = plan.without_domains(&unstarted.into_iter().collect::<Vec<_>>());
            if candidate != plan && self.still_fails(&candidate) {
                plan = candidate;
            }
        }
        plan
    }
}

impl std::fmt::Debug for Shrinker<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shrinker")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Options;

    fn plan() -> Plan {
        Plan::draw(
            3,
            &Options { hosts: Some(4), classes: vec![crate::plan::Class::Storage], ..Options::default() },
        )
    }

    fn shrink(plan: &Plan, fails: impl Fn(&Plan) -> bool) -> Plan {
        Shrinker { fails: &mut |plan| fails(plan), over: &mut || false }.shrink(plan)
    }

    #[test]
    fn what_is_not_needed_goes_and_what_is_needed_stays() {
        let plan = plan();
        let (first, last) = (1, plan.faults.len() - 1);
        let needed = |plan: &Plan| {
            let kept: Vec<usize> = plan.kept().map(|(number, _)| number).collect();
            kept.contains(&first)
                && kept.contains(&last)
                && !plan.off.contains(&2)
                && !plan.unstarted.contains(&1)
        };
        let small = shrink(&plan, needed);
        assert_eq!(small.kept().map(|(number, _)| number).collect::<Vec<_>>(), [first, last]);
        assert_eq!(small.off, [0, 1, 3]);
        assert!(!small.unstarted.contains(&1) && small.unstarted.len() == small.domains.len() - 1);
    }

    #[test]
    fn a_failure_that_needs_no_fault_keeps_none() {
        assert_eq!(shrink(&plan(), |_| true).kept().count(), 0);
    }

    #[test]
    fn when_the_time_is_over_the_plan_stays_as_it_is() {
        let plan = plan();
        assert_eq!(Shrinker { fails: &mut |_| true, over: &mut || true }.shrink(&plan), plan);
    }
}
