//! Whether the exemptions count that an operator has declared. One does only while nothing that the domain writes can be reached by
//! other hosts: two of them would write it, and no fence would have ended the first. Told anew at each look, by libvirt's
//! definition and by what the domain's process has open; where it cannot be told it counts as before (ARCHITECTURE 5).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use leasefence_core::ids::DomainId;
use leasefence_hypervisor::{Domain, Storages};
use leasefence_transport::{Reach, open_for_writing};

use crate::kill::start_time;

/// How long is waited for what one process has open: reading it takes locks of the process's.
const PATIENCE: Duration = Duration::from_millis(500);

/// A domain, its process, and when that was started in clock ticks since boot.
pub(crate) type Shown = (DomainId, u32, u64);

/// Something that a domain writes, in words, and who can get at it.
type Written = (String, Reach);

/// What becomes of an exemption.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Standing {
    /// It counts.
    pub(crate) exempt: bool,
    /// Whether it does cannot be told: it is as it was before.
    pub(crate) doubtful: bool,
    /// What people should know: a sentence without its subject, the domain. None where nothing is exempt, or all is well.
    pub(crate) said: Option<String>,
}

impl Standing {
    /// By all that the domain writes. One that nobody has judged before counts as its operator says.
    fn judge(before: Option<bool>, written: Vec<Written>) -> Self {
        let worst = written.into_iter().reduce(|worst, next| match (&worst.1, &next.1) {
            (Reach::Here, _) | (Reach::Unknown(_), Reach::Shared(_)) => next,
            _ => worst,
        });
        match worst {
            Some((what, Reach::Shared(of))) => {
                Self { exempt: false, doubtful: false, said: Some(does_not_count(&what, &of)) }
            }
            Some((what, Reach::Unknown(why))) => {
                let exempt = before.unwrap_or(true);
                Self { exempt, doubtful: true, said: Some(cannot_be_told(&what, &why, exempt)) }
            }
            Some((_, Reach::Here)) | None => Self { exempt: true, doubtful: false, said: None },
        }
    }
}

fn does_not_count(what: &str, of: &str) -> String {
    format!(
        "it is declared exempt, but writes {what}, which other hosts can reach ({of}): the exemption does not count. It takes a \
         lease like any other, and is killed when this host's lease ends. Keep all that it writes on storage of this host \
         alone, or take the exemption away."
    )
}

fn cannot_be_told(what: &str, why: &str, exempt: bool) -> String {
    let stays = if exempt { "exempt: neither leased nor killed" } else { "protected" };
    format!(
        "it is declared exempt, and whether {what} is this host's alone cannot be told ({why}). Until it can it stays as it was, {stays}."
    )
}

/// All exemptions of this host.
#[derive(Debug, Default)]
pub(crate) struct Exemptions {
    /// Domains, by name or uuid, that the configuration exempts.
    words: Vec<String>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Of those that are declared exempt: the last word, and what was logged of it.
    standings: BTreeMap<DomainId, (Standing, Option<String>)>,
    /// The domain processes that the fencer showed last.
    shown: BTreeSet<Shown>,
    /// Questions that are still open. There is never a second one about the same process.
    open: HashMap<(u32, u64), Receiver<Vec<Written>>>,
}

impl Exemptions {
    /// With these names and uuids in the configuration.
    pub(crate) fn new(words: Vec<String>) -> Self {
        Self { words, ..Self::default() }
    }

    /// The fencer shows these.
    pub(crate) fn shows(&self, shown: &BTreeSet<Shown>) {
        self.lock().shown.clone_from(shown);
    }

    /// What people should know of this one.
    pub(crate) fn said(&self, domain: DomainId) -> Option<String> {
        self.lock().standings.get(&domain)?.0.said.clone()
    }

    /// Looks at a domain that libvirt lists, and says what is to be logged. Blocks for at most half a second for each path and
    /// process, and for none of a domain that nobody declares exempt.
    pub(crate) fn look(&self, domain: &Domain, storages: &Storages) -> (Standing, Option<String>) {
        if !self.declares(domain) {
            self.lock().standings.remove(&domain.id);
            return (Standing::default(), None);
        }
        let mut written = storages.reaches(&domain.disks);
        let runs = domain.activity.is_running();
        if runs {
            written.extend(self.open_files(domain.id));
        }
        let mut known = self.lock();
        let (before, logged) = known.standings.remove(&domain.id).unzip();
        let standing = Standing::judge(before.as_ref().map(|before| before.exempt), written);
        let mut logged = logged.flatten();
        // A doubt may be over with the next look: of a domain that has just started nobody shows a process yet.
        let lasts = !standing.doubtful || before.is_some_and(|before| before.said == standing.said);
        let news = standing.said.clone().filter(|said| runs && lasts && logged.as_ref() != Some(said));
        match &standing.said {
            None => logged = None,
            Some(_) => logged = news.clone().or(logged),
        }
        known.standings.insert(domain.id, (standing.clone(), logged));
        (standing, news.map(|said| format!("domain '{}' ({}): {said}", domain.name, domain.id)))
    }

    /// Of a domain that is about to start: by its definition alone.
    pub(crate) fn at_start(&self, domain: &Domain, storages: &Storages) -> Standing {
        if !self.declares(domain) {
            return Standing::default();
        }
        let before = self.lock().standings.get(&domain.id).map(|(before, _)| before.exempt);
        Standing::judge(before, storages.reaches(&domain.disks))
    }

    fn declares(&self, domain: &Domain) -> bool {
        let uuid = domain.id.to_string();
        domain.protection.exempt || self.words.iter().any(|word| *word == domain.name || *word == uuid)
    }

    /// What the processes of a running domain have open as disks.
    fn open_files(&self, domain: DomainId) -> Vec<Written> {
        let doubt = |what: String, why: &str| vec![(what, Reach::Unknown(why.to_owned()))];
        let (processes, mut open) = {
            let mut known = self.lock();
            let shown: BTreeSet<_> = known.shown.iter().map(|(_, pid, start)| (*pid, *start)).collect();
            known.open.retain(|process, _| shown.contains(process));
            let of_it = known.shown.iter().filter(|(of, ..)| *of == domain);
            let processes: Vec<_> = of_it.map(|(_, pid, start)| (*pid, *start)).collect();
            let open: HashMap<_, _> =
                processes.iter().filter_map(|process| known.open.remove_entry(process)).collect();
            (processes, open)
        };
        if processes.is_empty() {
            return doubt("what it has open".to_owned(), "the fencer shows no process of it");
        }
        let mut written = Vec::new();
        for process in processes {
            let question = open.remove(&process).unwrap_or_else(|| ask(process));
            match question.recv_timeout(PATIENCE) {
                Ok(files) => written.extend(files),
                Err(why) => {
                    if why == RecvTimeoutError::Timeout {
                        self.lock().open.insert(process, question);
                    }
                    written.extend(doubt(has_open(process.0), "the kernel does not answer"));
                }
            }
        }
        written
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn has_open(pid: u32) -> String {
    format!("what its process {pid} has open")
}

/// By a thread of its own: whoever holds a lock of the process's may hold it up.
fn ask(process: (u32, u64)) -> Receiver<Vec<Written>> {
    let (sender, receiver) = mpsc::channel();
    let work = move || {
        // The receiver may have gone with the process.
        drop(sender.send(disks_of(process)));
    };
    // Without a thread its end is gone, and the answer is that there is none.
    drop(thread::Builder::new().name("open-files".to_owned()).spawn(work));
    receiver
}

fn disks_of((pid, start): (u32, u64)) -> Vec<Written> {
    match open_for_writing(pid) {
        // The pid may have become another's before it was read, and not after.
        Ok(files) if start_time(pid) == Some(start) => {
            let disks = files.into_iter().filter(|file| file.as_a_disk);
            disks.map(|file| (file.path.display().to_string(), file.reach)).collect()
        }
        Ok(_) => vec![(has_open(pid), Reach::Unknown("it has ended".to_owned()))],
        Err(error) => vec![(has_open(pid), Reach::Unknown(error.to_string()))],
    }
}

#[cfg(test)]
mod tests;
