//! Tests of the slots: timelines on a lease file in memory, one a sentence, and a seeded search for two holders.

mod claim;
mod free;
mod lab;
mod random;
mod rejoin;
mod restart;
