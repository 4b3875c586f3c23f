//! Keeps the link to the fencer: a thread that attaches, offers the page it holds to a fencer that has lost its own, and
//! tells the main loop which page counts. It never reads or writes the page.

use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use leasefence_core::ids::BootId;
use leasefence_page::Page;
use leasefence_page::link::{Attached, FencerLink};

use crate::event::{Event, Events, send};

/// Between two looks at the link. A restarted fencer that is armed and has lost its page waits 0.25 s for an offer.
const INTERVAL: Duration = Duration::from_millis(50);

/// Starts the thread.
///
/// # Errors
/// When there is no thread to be had.
pub(crate) fn start(socket: PathBuf, boot_id: BootId, events: Events) -> io::Result<()> {
    let link = FencerLink::new(socket, boot_id);
    thread::Builder::new().name("link".to_owned()).spawn(move || keep(link, &events)).map(drop)
}

fn keep(mut link: FencerLink, events: &Events) {
    let mut held: Option<Page> = None;
    let mut said: Option<Result<(), String>> = None;
    while !events.is_closed() {
        if !link.is_alive() {
            let outcome = attach(&mut link, &mut held, events);
            if said.as_ref() != Some(&outcome) {
                send(events, Event::Link(outcome.clone()));
                said = Some(outcome);
            }
        }
        thread::sleep(INTERVAL);
    }
}

fn attach(link: &mut FencerLink, held: &mut Option<Page>, events: &Events) -> Result<(), String> {
    match link.attach(held.as_ref()).map_err(|error| chain(&error))? {
        Attached::Same => Ok(()),
        Attached::New(page) => {
            let copy = page.try_clone().map_err(|error| chain(&error))?;
            *held = Some(copy);
            send(events, Event::Page(page));
            Ok(())
        }
    }
}

/// An error with its sources, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text = format!("{text}: {source}");
        next = source.source();
    }
    text
}
