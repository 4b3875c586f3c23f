//! What a host that was fenced must have back before it recovers anything.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, TryRecvError};
use std::thread;
use std::time::Duration;

use super::keeper::AGAIN;
use super::noted::{Noted, Presence, What};
use super::notes::Notes;

/// For as long an attempt is waited for, which takes no time where all works. One that takes longer has its thread meanwhile, and what is
/// named and heard meanwhile is noted.
pub(super) const ATTEMPT: Duration = Duration::from_secs(1);

/// Why nothing is known of an attempt.
const DIED: &str = "its thread has died";

/// All that was noted at the lease's end, in the order in which it is brought back.
#[derive(Default)]
pub(super) struct Owed {
    items: Vec<Item>,
}

/// One of it.
struct Item {
    line: String,
    noted: Noted,
    standing: Standing,
    /// On `CLOCK_BOOTTIME`: when bringing it back was last tried; none before.
    tried_ns: Option<u64>,
    /// The attempt that has not ended.
    attempt: Option<Receiver<Result<(), String>>>,
}

/// How it stands with it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Standing {
    /// It has not come back yet.
    Missing,
    /// It has, and was there at the last look.
    Back,
    /// It has, and was not there at the last look.
    Gone,
}

impl Owed {
    /// Whatever was back, the fencer may have taken away.
    pub(super) fn lease_ended(&mut self, notes: &Notes) {
        let mut items = Vec::new();
        let mut known = BTreeSet::new();
        let under_way = |item: &mut Item| Some((item.noted.identity(), item.attempt.take()?));
        let mut attempts: BTreeMap<_, _> = self.items.iter_mut().filter_map(under_way).collect();
        // What was seen last says how it is now; of what leads to the same place, one is enough.
        for line in self.items.iter().map(|item| &item.line).chain(notes.lines()).rev() {
            let Some(noted) = Noted::read(line) else { continue };
            let identity = noted.identity();
            if known.insert(identity.clone()) {
                let (line, attempt) = (line.clone(), attempts.remove(&identity));
                items.push(Item { line, noted, standing: Standing::Missing, tried_ns: None, attempt });
            }
        }
        items.reverse();
        self.items = items;
    }

    /// True where nothing is waited for.
    pub(super) fn is_settled(&self) -> bool {
        self.items.iter().all(|item| item.standing == Standing::Back)
    }

    /// The notes about what is not back. What is, another agent need not know: it would take what its operator has removed meanwhile
    /// for missing.
    pub(super) fn text(&self) -> String {
        let missing = self.items.iter().filter(|item| item.standing == Standing::Missing);
        missing.fold(String::new(), |text, item| text + &item.line + "\n")
    }

    /// Looks at everything, gives up what was back and was taken away `by_others` than the fencer, and returns what there is to say.
    pub(super) fn look(&mut self, mountinfo: &str, by_others: bool, now_ns: u64) -> Vec<String> {
        let presences = self.items.iter().map(|item| item.noted.presence(mountinfo)).collect();
        self.found(presences, by_others, now_ns)
    }

    fn found(&mut self, mut presences: Vec<Presence>, by_others: bool, now_ns: u64) -> Vec<String> {
        self.excuse_paths(&mut presences);
        let mut said = Vec::new();
        let mut presences = presences.into_iter();
        self.items.retain_mut(|item| {
            let presence = presences.next().unwrap_or(Presence::Away);
            let before = item.standing;
            item.standing = match (before, presence) {
                (Standing::Missing, Presence::There) if !item.was_just_tried(now_ns) => Standing::Back,
                (Standing::Missing, _) | (_, Presence::Lost) => Standing::Missing,
                (_, Presence::There | Presence::Impaired) => Standing::Back,
                (Standing::Gone, Presence::Away) if by_others => {
                    said.push(format!(
                        "{} was taken away after it had come back: it is given up",
                        item.noted
                    ));
                    return false;
                }
                (_, Presence::Away) => Standing::Gone,
            };
            if before == Standing::Missing && item.standing == Standing::Back && item.tried_ns.is_some() {
                said.push(format!("{} is brought back after the fence", item.noted));
            }
            true
        });
        said
    }

    /// Of the disks beneath a mapped device, those whose portal is dead may never come: none is waited for once the device is there. A
    /// disk that was taken from under its mount is looked for once more.
    fn excuse_paths(&self, presences: &mut [Presence]) {
        for (path, index) in self.items.iter().zip(0..) {
            let is_path = matches!(path.noted.what, What::Scsi(_));
            if !is_path || presences.get(index) == Some(&Presence::There) {
                continue;
            }
            let beside = || {
                let all = self.items.iter().zip(presences.iter().copied());
                all.filter(|(item, _)| item.noted.storage == path.noted.storage)
            };
            let mut mapped =
                beside().filter(|(item, _)| matches!(item.noted.what, What::Mapped(_))).peekable();
            let leads_to_it =
                mapped.peek().is_some() && mapped.all(|(_, presence)| presence == Presence::There);
            let is_missed = beside().any(|(item, presence)| {
                matches!(item.noted.what, What::FileSystem(_))
                    && (presence == Presence::Lost
                        || (item.standing == Standing::Missing && presence != Presence::There))
            });
            let presence = match (leads_to_it, is_missed) {
                (true, _) => Presence::There,
                (false, true) => Presence::Lost,
                (false, false) => continue,
            };
            if let Some(of_path) = presences.get_mut(index) {
                *of_path = presence;
            }
        }
    }

    /// Tries to bring back what was due at the last look: what it is, and what came of it, or nothing yet. None where nothing was due.
    pub(super) fn bring_next_back(&mut self, looked_ns: u64) -> Option<(String, Result<(), String>)> {
        let index = self.next_due(looked_ns)?;
        let item = self.items.get_mut(index)?;
        let brought = item.bring_back();
        Some((item.noted.to_string(), brought))
    }

    /// True while an attempt has not ended.
    pub(super) fn is_trying(&self) -> bool {
        self.items.iter().any(|item| item.attempt.is_some())
    }

    /// What came of the attempts that took long, or that they have not ended.
    pub(super) fn tried(&mut self) -> Vec<(String, Result<(), String>)> {
        let tried = |item: &mut Item| Some((item.noted.to_string(), item.tried()?));
        self.items.iter_mut().filter_map(tried).collect()
    }

    /// For tests: nothing was just tried.
    #[cfg(test)]
    pub(super) fn time_passes(&mut self) {
        self.items.iter_mut().for_each(|item| item.tried_ns = item.tried_ns.map(|_| 0));
    }

    /// The kernel and udev take a moment for a disk that was scanned for: the file systems on it wait until it is back. Of two mounts one
    /// may lie within the other: nothing begins before the attempt at the one before has ended, but for a scan's.
    fn next_due(&self, now_ns: u64) -> Option<usize> {
        let is_scan = |item: &Item| matches!(item.noted.what, What::Scsi(_));
        if self.items.iter().any(|item| item.attempt.is_some() && !is_scan(item)) {
            return None;
        }
        let missing = |item: &Item| item.standing == Standing::Missing;
        self.items.iter().position(|item| {
            let waits_for_disk = matches!(item.noted.what, What::FileSystem(_))
                && self.items.iter().any(|other| {
                    missing(other)
                        && other.noted.storage == item.noted.storage
                        && matches!(other.noted.what, What::Scsi(_))
                });
            missing(item) && !item.was_just_tried(now_ns) && !waits_for_disk
        })
    }
}

impl Item {
    /// Or is being tried.
    fn was_just_tried(&self, now_ns: u64) -> bool {
        let again_ns = u64::try_from(AGAIN.as_nanos()).unwrap_or(u64::MAX);
        self.attempt.is_some()
            || self.tried_ns.is_some_and(|tried_ns| now_ns.saturating_sub(tried_ns) < again_ns)
    }

    fn bring_back(&mut self) -> Result<(), String> {
        let (ends, attempt) = mpsc::channel();
        let what = self.noted.what.clone();
        let brings = move || drop(ends.send(what.bring_back()));
        let begun = thread::Builder::new().name("storage".to_owned()).spawn(brings);
        let ended =
            begun.map_err(|error| error.to_string()).and_then(|_| match attempt.recv_timeout(ATTEMPT) {
                Ok(ended) => ended,
                Err(RecvTimeoutError::Timeout) => {
                    self.attempt = Some(attempt);
                    Ok(())
                }
                Err(RecvTimeoutError::Disconnected) => Err(DIED.to_owned()),
            });
        self.tried_ns = Some(leasefence_clock::instant().boot_ns);
        ended
    }

    fn tried(&mut self) -> Option<Result<(), String>> {
        let ended = match self.attempt.as_ref()?.try_recv() {
            Ok(ended) => ended,
            Err(TryRecvError::Empty) => return Some(Err("the attempt has not ended yet".to_owned())),
            Err(TryRecvError::Disconnected) => Err(DIED.to_owned()),
        };
        self.attempt = None;
        self.tried_ns = Some(leasefence_clock::instant().boot_ns);
        Some(ended)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owed(lines: &str) -> Owed {
        let mut owed = Owed::default();
        owed.lease_ended(&Notes::read(lines));
        owed
    }

    fn names(owed: &Owed) -> Vec<String> {
        owed.items.iter().map(|item| item.noted.to_string()).collect()
    }

    /// What is tried one after the other, when nothing comes of it.
    fn due(lines: &str) -> Vec<String> {
        let mut owed = owed(lines);
        let mut due = Vec::new();
        while let Some(index) = owed.next_due(1) {
            due.push(owed.items[index].noted.to_string());
            owed.items[index].tried_ns = Some(1);
        }
        due
    }

    const ON_DISK: &str = "fs 2064 0 naa.6001405 41 22 8:16 / /mnt/local rw - ext4 /dev/sdb rw\n";

    /// Catches: a mount that is tried before its disk is known, and one that systemd takes off again since udev does not know the disk;
    /// and one that waits for another's disk, which may never come.
    #[test]
    fn a_file_system_waits_until_its_disk_is_back() {
        assert_eq!(due(&format!("scsi 2064 2:0:0:1\n{ON_DISK}")), ["SCSI device 2:0:0:1"]);
        let others = format!("scsi 1 3:0:0:1\n{ON_DISK}mapped 1 LVM-x v-d\n");
        assert_eq!(due(&others), ["SCSI device 3:0:0:1", "/mnt/local", "mapped device v-d"]);
    }

    /// Catches: a mount as it was before its operator has changed it, beside the one as it is.
    #[test]
    fn of_what_leads_to_the_same_place_the_last_is_owed() {
        let nfs = |number, source| format!("40 22 0:{number} / /mnt/d rw - nfs4 s:/{source} rw\n");
        let mut owed = owed(&(nfs(50, "a") + "scsi 1 3:0:0:1\nscsi 2 3:0:0:1\n" + &nfs(51, "b")));
        assert_eq!(names(&owed), ["SCSI device 3:0:0:1", "SCSI device 3:0:0:1", "/mnt/d"]);
        assert!(owed.text().ends_with(&nfs(51, "b")));
        owed.lease_ended(&Notes::read(&nfs(52, "c")));
        assert_eq!(names(&owed).len(), 3);
        assert!(owed.text().ends_with(&nfs(52, "c")), "{}", owed.text());
    }

    /// Catches: a host that starts nothing until it is rebooted since one of two portals is dead for good.
    #[test]
    fn a_path_is_not_waited_for_once_what_lies_over_it_is_there() {
        let lines = "scsi 1 2:0:0:1\nscsi 1 3:0:0:1\nmapped 1 mpath-36 mpatha\nscsi 2 2:0:0:1\n";
        let owed = owed(lines);
        let mut presences = [Presence::Away, Presence::There, Presence::Away, Presence::Away];
        owed.excuse_paths(&mut presences);
        assert_eq!(presences[0], Presence::Away);
        presences[2] = Presence::There;
        owed.excuse_paths(&mut presences);
        assert_eq!(presences, [Presence::There, Presence::There, Presence::There, Presence::Away]);
    }

    /// Catches: a host that recovers domains without a file system whose disk was gone for a moment.
    #[test]
    fn a_file_system_whose_disk_is_taken_from_under_it_is_owed_once_more() {
        let lines = format!("scsi 2064 2:0:0:1\n{ON_DISK}mapped 1 LVM-x v-d\n");
        let mut owed = owed(&lines);
        owed.found(vec![Presence::There, Presence::There, Presence::Away], true, 1);
        assert_eq!(owed.text(), "mapped 1 LVM-x v-d\n");
        for _ in 0..3 {
            owed.found(vec![Presence::Away, Presence::Lost, Presence::There], true, 1);
        }
        assert!(!owed.is_settled());
        assert_eq!(owed.text(), format!("scsi 2064 2:0:0:1\n{ON_DISK}"), "the disk is scanned for");
        // What has become read-only since is there.
        owed.found(vec![Presence::There; 3], true, 1);
        owed.found(vec![Presence::There, Presence::Impaired, Presence::There], true, 1);
        assert!(owed.is_settled());
        // Its operator takes it off, and deletes the disk.
        owed.found(vec![Presence::Away, Presence::Away, Presence::There], true, 1);
        assert!(!owed.is_settled());
        owed.found(vec![Presence::Away, Presence::Away, Presence::There], true, 1);
        assert!(owed.is_settled());
        assert_eq!(names(&owed), ["mapped device v-d"]);
    }
}
