//! What the switch does to frames.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::machine::Network;

/// What happens to a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// It never arrives.
    Drop,
    /// It arrives this many milliseconds later.
    Delay(u32),
}

/// A rule for the frames of one network from one machine to another; `None` is any machine.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Rule {
    /// The network.
    pub network: Network,
    /// The sender.
    pub from: Option<String>,
    /// The receiver.
    pub to: Option<String>,
    /// What happens.
    pub effect: Effect,
}

impl Rule {
    fn matches(&self, network: Network, from: &str, to: &str) -> bool {
        let is = |wanted: &Option<String>, name| wanted.as_deref().is_none_or(|wanted| wanted == name);
        self.network == network && is(&self.from, from) && is(&self.to, to)
    }

    /// Whether it is about this machine by name.
    fn names(&self, machine: &str) -> bool {
        [&self.from, &self.to].into_iter().any(|name| name.as_deref() == Some(machine))
    }
}

/// The rules in force.
#[derive(Clone, Default, Debug)]
pub(crate) struct Rules(Vec<Rule>);

impl Rules {
    pub(crate) fn add(&mut self, rules: Vec<Rule>) {
        self.0.extend(rules.into_iter().filter(|rule| !self.0.contains(rule)).collect::<Vec<_>>());
    }

    /// Takes back what was done to a machine (or to all), on a network (or on both).
    pub(crate) fn heal(&mut self, machine: Option<&str>, network: Option<Network>) {
        self.0.retain(|rule| {
            network.is_some_and(|network| network != rule.network)
                || machine.is_some_and(|machine| !rule.names(machine))
        });
    }

    pub(crate) fn all(&self) -> &[Rule] {
        &self.0
    }

    /// How much later a frame arrives; `None` if it never does.
    pub(crate) fn delay(&self, network: Network, from: &str, to: &str) -> Option<Duration> {
        let mut effects =
            self.0.iter().filter(|rule| rule.matches(network, from, to)).map(|rule| rule.effect);
        effects.try_fold(Duration::ZERO, |delay, effect| match effect {
            Effect::Drop => None,
            Effect::Delay(ms) => Some(delay.max(Duration::from_millis(ms.into()))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(from: Option<&str>, to: Option<&str>) -> Rule {
        let name = |name: Option<&str>| name.map(str::to_owned);
        Rule { network: Network::Storage, from: name(from), to: name(to), effect: Effect::Drop }
    }

    #[test]
    fn a_cut_is_of_one_direction_and_of_one_network() {
        let mut rules = Rules::default();
        rules.add(vec![cut(Some("host-1"), None)]);
        assert_eq!(rules.delay(Network::Storage, "host-1", "storage"), None);
        assert_eq!(rules.delay(Network::Storage, "storage", "host-1"), Some(Duration::ZERO));
        assert_eq!(rules.delay(Network::Cluster, "host-1", "host-2"), Some(Duration::ZERO));
    }

    #[test]
    fn healing_one_machine_leaves_the_others_cut() {
        let mut rules = Rules::default();
        rules.add(vec![cut(Some("host-1"), None), cut(None, Some("host-1")), cut(Some("host-2"), None)]);
        rules.heal(Some("host-1"), None);
        assert_eq!(rules.all(), [cut(Some("host-2"), None)]);
        rules.heal(None, Some(Network::Cluster));
        assert_eq!(rules.all().len(), 1);
        rules.heal(None, None);
        assert!(rules.all().is_empty());
    }
}
