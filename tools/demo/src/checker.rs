//! The judge: reads the guest's log and says whether two copies of the guest ever wrote to the disk at once. It knows
//! nothing of leases or hosts' states: only what a file system on that disk would have suffered.

use std::cmp::Ordering;

use crate::record::Record;

/// One life of the guest: from its first write to its last.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Life {
    /// Its first record.
    pub first: Record,
    /// Its last record.
    pub last: Record,
}

/// How a second writer showed itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// A copy wrote after its successor had begun.
    Interleaved,
    /// Two copies started from the same state of the disk.
    SameGeneration,
    /// A write is missing: another copy wrote over it.
    Lost,
}

/// Two copies wrote, or one overwrote what another had written.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}: {before}; then {after}", match fault {
    Fault::Interleaved => "TWO WRITERS, the one after its successor",
    Fault::SameGeneration => "TWO WRITERS, started from one state of the disk",
    Fault::Lost => "TWO WRITERS, the one over what the other had written",
})]
pub struct SplitBrain {
    /// What is wrong.
    pub fault: Fault,
    /// The record before.
    pub before: Box<Record>,
    /// The record that cannot follow it.
    pub after: Box<Record>,
}

/// Judges a log, given in the order of positions. A log that has wrapped may begin in the middle of a life.
///
/// # Errors
/// With the first sign of a second writer.
pub fn check(log: &[Record]) -> Result<Vec<Life>, SplitBrain> {
    let mut lives: Vec<Life> = Vec::new();
    for record in log {
        match lives.last_mut() {
            Some(life) if life.last.boot == record.boot => {
                follows(&life.last, record)?;
                life.last = record.clone();
            }
            predecessor => {
                if let Some(predecessor) = predecessor {
                    succeeds(&predecessor.last, record)?;
                }
                lives.push(Life { first: record.clone(), last: record.clone() });
            }
        }
    }
    Ok(lives)
}

/// Within a life each write is the next one.
fn follows(before: &Record, after: &Record) -> Result<(), SplitBrain> {
    let next = after.counter == before.counter + 1 && after.position == before.position + 1;
    if next { Ok(()) } else { Err(split_brain(Fault::Lost, before, after)) }
}

/// A new life begins with its first write, one generation after the last life, and one position after its last write.
fn succeeds(last: &Record, record: &Record) -> Result<(), SplitBrain> {
    let fault = match record.generation.cmp(&last.generation) {
        Ordering::Less => Fault::Interleaved,
        Ordering::Equal => Fault::SameGeneration,
        Ordering::Greater if record.counter != 1 || record.position != last.position + 1 => Fault::Lost,
        Ordering::Greater => return Ok(()),
    };
    Err(split_brain(fault, last, record))
}

fn split_brain(fault: Fault, before: &Record, after: &Record) -> SplitBrain {
    SplitBrain { fault, before: Box::new(before.clone()), after: Box::new(after.clone()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log from a picture: each letter is a boot, each digit its generation; a dot is a position that is missing.
    fn log(picture: &[&str]) -> Vec<Record> {
        let mut counters = std::collections::HashMap::new();
        let record = |(word, position): (&&str, u32)| {
            let counter = counters.entry(word.to_string()).or_insert(0);
            *counter += 1;
            (*word != ".").then(|| Record {
                position,
                generation: word[1..].parse().unwrap(),
                boot: word[..1].into(),
                host: format!("host-{}", &word[..1]),
                counter: *counter,
                uptime_ms: *counter * 100,
            })
        };
        picture.iter().zip(1..).filter_map(record).collect()
    }

    #[test]
    fn one_life_after_another_is_no_split_brain() {
        let lives = check(&log(&["a1", "a1", "a1", "b2", "b2", "c3"])).unwrap();
        let hosts: Vec<_> = lives.iter().map(|life| (life.first.host.as_str(), life.last.counter)).collect();
        assert_eq!(hosts, [("host-a", 3), ("host-b", 2), ("host-c", 1)]);
    }

    #[test]
    fn a_copy_that_writes_after_its_successor_has_begun_is_caught() {
        let verdict = check(&log(&["a1", "a1", "b2", "a1", "b2"]));
        assert_eq!(verdict.unwrap_err().fault, Fault::Interleaved);
    }

    #[test]
    fn a_single_late_write_of_the_dead_is_caught() {
        let verdict = check(&log(&["a1", "a1", "b2", "b2", "b2", "a1"]));
        assert_eq!(verdict.unwrap_err().fault, Fault::Interleaved);
    }

    #[test]
    fn two_copies_started_at_once_are_caught_though_they_have_one_generation() {
        let verdict = check(&log(&["a1", "b2", "c2", "b2"]));
        assert_eq!(verdict.unwrap_err().fault, Fault::SameGeneration);
    }

    #[test]
    fn a_write_that_another_copy_has_overwritten_is_missed() {
        let verdict = check(&log(&["a1", "a1", ".", "a1"]));
        assert_eq!(verdict.unwrap_err().fault, Fault::Lost);
    }

    #[test]
    fn a_log_that_has_wrapped_begins_in_the_middle_of_a_life() {
        let whole = log(&["a1", "a1", "a1", "b2"]);
        assert_eq!(check(&whole[1..]).unwrap().len(), 2);
    }
}
