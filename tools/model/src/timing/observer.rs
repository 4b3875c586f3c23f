//! The observer: a fresh [`Watch`] over scans whose two copies may be served at two instants, and whose path may become
//! a picture of the storage. Its own lease is always valid and its own renewal is issued when its scan begins: more than
//! the product's observers may do, so that what holds here holds there.

use leasefence_core::evidence::Evidence;
use leasefence_core::format::{ClusterName, Features, LONGEST_VERDICT_AFTER_DEFAULT, Layout, Unit};
use leasefence_core::format::{DecodeError, Header, HostRecord, Policy, RecordCopy};
use leasefence_core::ids::{ClusterId, FileId};
use leasefence_core::marks::{Mark, Marks};
use leasefence_core::time::Instant;
use leasefence_core::watch::{LivePath, Reading, Scanned, SlotWatch, Watch};

use super::disk::{Disk, Sector, VICTIM, decoded, index};
use super::rules::Rules;
use crate::relative::now;

/// A scan under way.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Read {
    started: Instant,
    /// Whether the own renewal of this pass can be read back.
    live: bool,
    /// What was served of each copy.
    served: [Option<Sector>; 2],
}

/// The observer.
#[derive(Clone, Hash, Debug)]
pub(crate) struct Observer {
    watch: Watch,
    read: Option<Read>,
    /// What its reads show, once they show a picture.
    picture: Option<Disk>,
}

/// What an observer may do next.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Look {
    /// A scan begins.
    Begin,
    /// The storage serves one copy.
    Serve(RecordCopy),
    /// The scan ends, and is judged.
    End,
    /// Its reads show a picture from now on.
    Freeze,
    /// Its process starts again.
    Restart,
}

impl Observer {
    /// One that has read nothing yet.
    pub(crate) fn new(rules: &Rules) -> Self {
        Self { watch: Watch::new(&header(rules)), read: None, picture: None }
    }

    /// What it may do by itself.
    pub(crate) fn looks(&self, rules: &Rules, looks: &mut Vec<Look>) {
        let Some(read) = &self.read else {
            looks.push(Look::Begin);
            return;
        };
        match read.served {
            [None, None] if rules.torn_reads => {
                looks.extend([Look::Serve(RecordCopy::A), Look::Serve(RecordCopy::B)]);
            }
            [None, _] => looks.push(Look::Serve(RecordCopy::A)),
            [Some(_), None] => looks.push(Look::Serve(RecordCopy::B)),
            [Some(_), Some(_)] => looks.push(Look::End),
        }
    }

    /// Does it.
    pub(crate) fn take(&mut self, look: Look, disk: &Disk, rules: &Rules) {
        match look {
            Look::Begin => {
                let live = self.picture.is_none();
                self.read = Some(Read { started: now().instant, live, served: [None; 2] });
            }
            Look::Serve(copy) => self.serve(copy, disk, rules),
            Look::End => self.end(rules),
            Look::Freeze => self.picture = Some(*disk),
            Look::Restart => self.restart(rules),
        }
    }

    fn serve(&mut self, copy: RecordCopy, disk: &Disk, rules: &Rules) {
        let shown = self.picture.unwrap_or(*disk);
        let Some(read) = &mut self.read else { return };
        if rules.torn_reads {
            read.served[index(copy)] = Some(shown.0[index(copy)]);
        } else {
            read.served = shown.0.map(Some);
        }
        if !rules.late_end && read.served.iter().all(Option::is_some) {
            self.end(rules);
        }
    }

    fn end(&mut self, rules: &Rules) {
        let Some(Read { started, live, served: [Some(a), Some(b)] }) = self.read.take() else { return };
        let ended = now();
        let live = if live {
            LivePath::Member { renewal_issued: started }
        } else {
            LivePath::NotShown("the own renewal of this pass was not read back")
        };
        let reading = Reading::new(decoded(&[a, b], rules), [&[], &[]], started, ended);
        let readings = vec![(VICTIM.slot, reading)];
        let _ = self.watch.apply(Scanned { readings, observers: Vec::new(), started, ended }, live);
        self.watch.forget_advances();
    }

    /// A scan that takes too long fails.
    pub(crate) fn give_up_when_slow(&mut self, rules: &Rules) {
        let took = |read: &Read| now().instant.since_by_faster(read.started);
        if self.read.as_ref().is_some_and(|read| took(read) > rules.ticks(rules.slow_scan)) {
            self.read = None;
        }
    }

    fn restart(&mut self, rules: &Rules) {
        self.read = None;
        let watch = Watch::new(&header(rules));
        #[cfg(feature = "planted-bugs")]
        let watch = watch.with_stall_clocks_of(Some(&self.watch));
        self.watch = watch;
    }

    /// Why it says that the victim is gone.
    pub(crate) fn evidence(&self) -> Option<Evidence> {
        self.watch.evidence(VICTIM).map(|(evidence, _)| evidence)
    }

    /// True when its path has become a picture.
    pub(crate) fn is_frozen(&self) -> bool {
        self.picture.is_some()
    }

    /// True when no scan is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.read.is_none()
    }

    /// What its last scan showed.
    pub(crate) fn shown(&self) -> String {
        let reading = self.watch.slot(VICTIM.slot).and_then(SlotWatch::reading);
        let Some(copies) = reading.map(Reading::copies) else { return "nothing".to_owned() };
        let word = |copy: &Result<HostRecord, DecodeError>| match copy {
            Ok(record) => format!("{:?} no. {}", record.state, record.sequence).to_lowercase(),
            Err(_) => "unreadable".to_owned(),
        };
        format!("A {}, B {}", word(&copies.a), word(&copies.b))
    }
}

fn header(rules: &Rules) -> Header {
    const HOSTS: u16 = 1;
    let layout = Layout::new(FileId([1; 16]), Unit::Bytes512, HOSTS, 1).expect("a layout of one host");
    Header {
        layout,
        cluster_name: ClusterName::cut("model"),
        cluster_id: ClusterId([2; 16]),
        policy: Policy::ACCEPT_NONE.with(Policy::TEST),
        min_write_drain: rules.tick,
        longest_verdict_after: LONGEST_VERDICT_AFTER_DEFAULT,
        features: Features::default(),
    }
}

impl Marks for Read {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.started.each_mark(f);
        self.served.each_mark(f);
    }
}

impl Marks for Observer {
    fn each_mark(&mut self, f: &mut dyn FnMut(Mark<'_>)) {
        self.watch.each_mark(f);
        self.read.each_mark(f);
        self.picture.each_mark(f);
    }
}
