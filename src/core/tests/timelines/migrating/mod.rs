//! Live migration: the lease goes with the domain, whoever dies in the middle, and nothing but the migration comes in (PROTOCOL 4).

mod agent_away;
mod beside;
mod coming_in;
mod failing;
mod killed_source;
mod next_destination;
mod resumed_source;
mod steps;
mod there;
