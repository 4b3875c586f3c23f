//! The list by which libvirt's hook lets exempt domains start while the agent is away. One thread writes it, since the disk may stall:
//! so no older list ever takes the place of a newer one. A list that cannot be written is tried again.

use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use leasefence_core::ids::DomainId;
use leasefence_hook::ExemptFile;

use crate::event::{Event, Events, send};

/// Between two tries to write it.
const AGAIN: Duration = Duration::from_secs(10);

/// What the hook goes by without an agent.
pub(crate) struct ExemptList {
    /// Told last; none before the first.
    told: Option<Vec<DomainId>>,
    /// To the thread that writes.
    lists: Sender<Vec<String>>,
}

impl ExemptList {
    /// Starts its thread. Nothing is written before the first list is told; what an agent before this one left counts until then.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(crate) fn start(file: Option<ExemptFile>, events: &Events) -> io::Result<Self> {
        let (lists, told) = mpsc::channel();
        if let Some(file) = file {
            let events = events.clone();
            let work =
                move || write_all(&file, &told, AGAIN, |text| send(&events, Event::Trouble("exempt", text)));
            thread::Builder::new().name("exempt".to_owned()).spawn(work)?;
        }
        Ok(Self { told: None, lists })
    }

    /// These are exempt now.
    pub(crate) fn set(&mut self, exempt: Vec<DomainId>) {
        if self.told.as_ref() != Some(&exempt) {
            // Without a file nobody hears it.
            drop(self.lists.send(exempt.iter().map(ToString::to_string).collect()));
            self.told = Some(exempt);
        }
    }
}

/// Until the agent ends.
fn write_all(file: &ExemptFile, lists: &Receiver<Vec<String>>, again: Duration, mut say: impl FnMut(String)) {
    let mut said = None;
    let mut owed = None;
    loop {
        let next = match owed {
            None => lists.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(_) => lists.recv_timeout(again),
        };
        match next {
            Ok(list) => owed = Some(lists.try_iter().last().unwrap_or(list)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        match owed.as_deref().map(|list| file.write(list)) {
            Some(Err(error)) => {
                let text = Some(error.to_string());
                if said != text {
                    said.clone_from(&text);
                    text.into_iter().for_each(&mut say);
                }
            }
            Some(Ok(())) | None => (owed, said) = (None, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use leasefence_hook::Configured;

    use super::*;

    const UUID: &str = "6c656173-6566-4e63-a000-000000000003";

    fn file(directory: &Path) -> ExemptFile {
        let configured = Configured::of(b"lease = 1").expect("a lease");
        ExemptFile::of(&Configured { state_dir: directory.into(), ..configured })
    }

    /// Catches: a revocation that is tried once, and then never written.
    #[test]
    fn a_list_that_cannot_be_written_is_tried_again_and_said_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let (file, (lists, told)) = (file(directory.path()), mpsc::channel());
        let in_the_way = directory.path().join("exempt.new");
        fs::create_dir(&in_the_way).expect("made");
        lists.send(Vec::new()).expect("somebody hears");
        lists.send(vec![UUID.to_owned()]).expect("somebody hears");
        let (say, heard) = mpsc::channel();
        let writer = thread::spawn({
            let file = file.clone();
            move || write_all(&file, &told, Duration::from_millis(1), |text| drop(say.send(text)))
        });
        let said = heard.recv().expect("it is said");
        assert!(!file.names(UUID) && said.contains("cannot be written"), "{said}");
        thread::sleep(Duration::from_millis(20));
        fs::remove_dir(&in_the_way).expect("removed");
        let mut tries = 0..10_000;
        while !file.names(UUID) {
            assert!(tries.next().is_some(), "it is not tried again");
            thread::sleep(Duration::from_millis(1));
        }
        assert!(heard.try_recv().is_err(), "said once");
        drop(lists);
        writer.join().expect("it ends with the agent");
    }
}
