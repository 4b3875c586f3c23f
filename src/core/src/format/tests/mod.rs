//! Tests of format 1: what is written is read back, no damage goes unseen, and the bytes do not drift.

mod any;
mod damage;
mod dumped;
mod fuzzed;
mod golden;
mod inspected;
mod laid_out;
mod picked;
mod plain;
mod roundtrip;

pub(crate) use plain::plain_record;
