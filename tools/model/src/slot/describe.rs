//! The slot model's traces, for people.

use leasefence_core::format::{Claim, DecodeError, HostRecord, LeasePage};

use super::layout;
use super::machine::Op;
use super::medium::{Content, What};
use super::step::Step;
use super::world::World;

/// One line.
pub(super) fn line(before: &World, step: Step, after: &World) -> String {
    let what = match step {
        Step::Second => "a second passes".to_owned(),
        Step::Starts(number) => format!("m{number}: its agent starts"),
        Step::Reads(number) => format!("m{number}: reads {}", op(before, before.machine(number).op())),
        Step::Lands(number) => {
            format!("m{number}: its write lands: {}", op(before, before.machine(number).op()))
        }
        Step::Fails(number) => {
            format!(
                "m{number}: its write FAILS and may land later: {}",
                op(before, before.machine(number).op())
            )
        }
        Step::LandsLate(at) => before
            .late
            .get(at)
            .map(|late| {
                let by = late.by.map_or_else(|| "the freeing host".to_owned(), |by| format!("m{by}"));
                format!("a write of {by} LANDS LATE: {}", written(before, late.offset, late.content))
            })
            .unwrap_or_default(),
        Step::HoldPasses(number) => format!("m{number}: nothing unknown can land any more"),
        Step::AgentDies(number) => format!("m{number}: its agent DIES"),
        Step::PowersOff(number) => format!("m{number}: loses its POWER"),
        Step::PowersOn(number) => format!("m{number}: boots again"),
        Step::Frees(number, slot) => format!("`slot free {slot} --machine-is-off m{number}`"),
        Step::FreerReads => format!("slot free: reads {}", op(before, freer(before))),
        Step::FreerLands => format!("slot free: its write lands: {}", op(before, freer(before))),
        Step::FreerFails => {
            format!("slot free: its write FAILS and may land later: {}", op(before, freer(before)))
        }
        Step::FreerHoldPasses => "slot free: nothing unknown can land any more".to_owned(),
    };
    let (Step::Starts(number) | Step::Reads(number) | Step::Lands(number) | Step::Fails(number)) = step
    else {
        return what;
    };
    let machine = after.machine(number);
    match machine.holds {
        Some(holds) => format!("{what}; it HOLDS {holds}"),
        None if machine.agent.is_none() => format!("{what}; it gives up"),
        None => format!("{what}; {}", machine.progress()),
    }
}

fn freer(world: &World) -> Option<&Op> {
    world.freer.as_ref().and_then(|freer| freer.op.as_ref())
}

fn op(world: &World, op: Option<&Op>) -> String {
    match op {
        None => String::new(),
        Some(Op::Write(offset, content)) => written(world, *offset, *content),
        Some(Op::Read(offset, len)) => match world.medium.what(*offset) {
            Some(what) if what.place(&layout(world.slots)).len == *len => {
                said(world, what, &world.medium.get(what))
            }
            _ => format!("{len} bytes at {offset}"),
        },
    }
}

fn written(world: &World, offset: u64, content: Content) -> String {
    let what = world.medium.what(offset);
    what.map(|what| said(world, what, &content.bytes())).unwrap_or_default()
}

fn said(world: &World, what: What, bytes: &[u8]) -> String {
    let place = what.place(&layout(world.slots));
    match what {
        What::Claim(slot) => match Claim::decode(&place, bytes) {
            Ok(claim) => format!("claim {slot} = {} (nonce {:x})", claim.name.as_str(), claim.nonce.0),
            Err(error) => format!("claim {slot} = {}", none_or(&error)),
        },
        What::Record(slot, copy) => match HostRecord::decode(&place, bytes) {
            Ok(record) => format!(
                "record {slot} {copy:?} = {} {:?} generation {} #{}",
                record.host_name.as_str(),
                record.state,
                record.incarnation.generation,
                record.sequence
            ),
            Err(error) => format!("record {slot} {copy:?} = {}", none_or(&error)),
        },
        What::Page(slot, copy) => match LeasePage::decode(&place, bytes) {
            Ok(page) => format!("page sector {slot} {copy:?} = generation {}", page.incarnation.generation),
            Err(error) => format!("page sector {slot} {copy:?} = {}", none_or(&error)),
        },
    }
}

fn none_or(error: &DecodeError) -> String {
    if *error == DecodeError::Empty { "zero".to_owned() } else { error.to_string() }
}
