//! Timelines of whole hosts: members and fencers of the shipped core, over a lease file in memory and in virtual time.
//! Each test tells one story; after every event the world checks that no domain runs twice, and that nobody is called
//! gone whose domains run.

#[cfg(test)]
mod chaos;
#[cfg(test)]
mod disk;
#[cfg(test)]
mod exemptions;
#[cfg(test)]
mod fencing;
#[cfg(test)]
mod guarding;
#[cfg(test)]
mod host;
#[cfg(test)]
mod maintenance;
#[cfg(test)]
mod migrating;
#[cfg(test)]
mod observing;
#[cfg(test)]
mod quieting;
#[cfg(test)]
mod restarting;
#[cfg(test)]
mod starting;
#[cfg(test)]
mod takeover;
#[cfg(test)]
mod whole_cluster;
mod whole_cluster_taken_back;
#[cfg(test)]
mod world;
