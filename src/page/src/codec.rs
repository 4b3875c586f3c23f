//! The two halves as bytes: little endian, fixed order, bounded lists. Encodes into a given buffer and decodes into a
//! given value, so that nothing is allocated once the lists have their capacity. Never trusts a length or a code.

use std::time::Duration;

use leasefence_core::fencing::{
    AgentHalf, Clean, DomainProcess, FencerHalf, OwnLease, QuiesceTarget, StartToken, StorageKind,
    UnknownWrite, Unproven, Wish,
};
use leasefence_core::format::WatchdogClass;
use leasefence_core::ids::{BootId, DomainId, FileId, Generation, Incarnation, Sequence, Slot, Term};
use leasefence_core::terms::Terms;
use leasefence_core::time::{HolderDeadline, Instant};

use crate::layout;
use crate::text::Text;
use crate::watchdog::{DevicePath, WatchdogDevice, WatchdogReport, WatchdogWish};

/// A half that does not fit the page.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EncodeError {
    /// One of its lists is longer than the page has room for.
    #[error(
        "writing the page: {count} {what} do not fit, there is room for {most}; nothing was written. \
         Run fewer protected domains on this host"
    )]
    TooMany {
        /// What the list holds.
        what: &'static str,
        /// Its length.
        count: usize,
        /// The most that the page holds.
        most: usize,
    },
}

/// Why bytes with a good CRC are no half: another program wrote them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Undecodable;

pub(crate) type Decoded<T> = Result<T, Undecodable>;

/// A half that can lie in a slot.
pub(crate) trait Half: Default {
    /// Writes it into `out` and returns the bytes used.
    fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError>;
    /// Reads it from exactly these bytes, reusing the lists of `self`. On an error `self` holds nothing of use.
    fn decode(&mut self, bytes: &[u8]) -> Decoded<()>;
}

impl Half for AgentHalf {
    fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        let mut to = Writer::new(out);
        to.bytes(&self.file_id.0);
        to.bytes(&self.boot_id.0);
        to.incarnation(self.incarnation);
        to.u32(self.arm_count);
        to.u8(wish_code(self.wish));
        to.instant(self.lease_end.0);
        to.terms(&self.terms);
        to.u64(self.issued.0);
        to.list(
            "writes of unknown outcome",
            layout::MAX_UNKNOWN_WRITES,
            &self.unknown,
            Writer::unknown_write,
        )?;
        to.list("start tokens", layout::MAX_TOKENS, &self.tokens, Writer::token)?;
        to.list("exempt domains", layout::MAX_EXEMPT, &self.exempt, |to, domain| to.bytes(&domain.0))?;
        to.list("storages to quiesce", layout::MAX_QUIESCE_TARGETS, &self.quiesce, Writer::quiesce)?;
        to.list("covered domains", layout::MAX_COVERED, &self.covered, |to, domain| to.bytes(&domain.0))?;
        to.list("domain leases", layout::MAX_OWN_LEASES, &self.own, Writer::own)?;
        Ok(to.len())
    }

    fn decode(&mut self, bytes: &[u8]) -> Decoded<()> {
        let mut from = Reader::new(bytes);
        self.file_id = FileId(from.array()?);
        self.boot_id = BootId(from.array()?);
        self.incarnation = from.incarnation()?;
        self.arm_count = from.u32()?;
        self.wish = wish_of(from.u8()?)?;
        self.lease_end = HolderDeadline(from.instant()?);
        self.terms = from.terms()?;
        self.issued = Sequence(from.u64()?);
        from.list(layout::MAX_UNKNOWN_WRITES, &mut self.unknown, Reader::unknown_write)?;
        from.list(layout::MAX_TOKENS, &mut self.tokens, Reader::token)?;
        from.list(layout::MAX_EXEMPT, &mut self.exempt, |from| Ok(DomainId(from.array()?)))?;
        from.list(layout::MAX_QUIESCE_TARGETS, &mut self.quiesce, Reader::quiesce)?;
        from.list(layout::MAX_COVERED, &mut self.covered, |from| Ok(DomainId(from.array()?)))?;
        from.list(layout::MAX_OWN_LEASES, &mut self.own, Reader::own)?;
        from.end()
    }
}

impl Half for FencerHalf {
    fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        let mut to = Writer::new(out);
        to.instant(self.beat);
        to.terms(&self.terms);
        to.u32(self.arm_count);
        to.u8(u8::from(self.armed));
        to.u8(u8::from(self.armed_since_boot));
        to.incarnation(self.incarnation);
        to.instant(self.lease_end.0);
        to.u8(u8::from(self.latched.is_some()));
        to.instant(self.latched.unwrap_or_default().0);
        to.clean(self.clean);
        to.u8(u8::from(self.unproven));
        to.u8(unproven_code(self.unproven_reason));
        to.u64(self.scans);
        to.list("domain processes", layout::MAX_PROCESSES, &self.processes, Writer::process)?;
        Ok(to.len())
    }

    fn decode(&mut self, bytes: &[u8]) -> Decoded<()> {
        let mut from = Reader::new(bytes);
        self.beat = from.instant()?;
        self.terms = from.terms()?;
        self.arm_count = from.u32()?;
        self.armed = from.bool()?;
        self.armed_since_boot = from.bool()?;
        self.incarnation = from.incarnation()?;
        self.lease_end = HolderDeadline(from.instant()?);
        let latched = from.bool()?;
        let end = HolderDeadline(from.instant()?);
        self.latched = latched.then_some(end);
        self.clean = from.clean()?;
        self.unproven = from.bool()?;
        self.unproven_reason = unproven_of(from.u8()?)?;
        self.scans = from.u64()?;
        from.list(layout::MAX_PROCESSES, &mut self.processes, Reader::process)?;
        from.end()
    }
}

fn wish_code(wish: Wish) -> u8 {
    match wish {
        Wish::Joining => 0,
        Wish::Armed => 1,
        Wish::DenyStarts => 2,
        Wish::Disarm => 3,
    }
}

fn wish_of(code: u8) -> Decoded<Wish> {
    Ok(match code {
        0 => Wish::Joining,
        1 => Wish::Armed,
        2 => Wish::DenyStarts,
        3 => Wish::Disarm,
        _ => return Err(Undecodable),
    })
}

fn unproven_code(reason: Option<Unproven>) -> u8 {
    match reason {
        None => 0,
        Some(Unproven::ProcessLeft) => 1,
        Some(Unproven::TokenOpen) => 2,
        Some(Unproven::TokensUnknown) => 3,
        Some(Unproven::StorageUnprovable) => 4,
        Some(Unproven::StorageUnknown) => 5,
        Some(Unproven::ScanFailed) => 6,
        Some(Unproven::StorageNotQuiet) => 7,
    }
}

fn unproven_of(code: u8) -> Decoded<Option<Unproven>> {
    Ok(Some(match code {
        0 => return Ok(None),
        1 => Unproven::ProcessLeft,
        2 => Unproven::TokenOpen,
        3 => Unproven::TokensUnknown,
        4 => Unproven::StorageUnprovable,
        5 => Unproven::StorageUnknown,
        6 => Unproven::ScanFailed,
        7 => Unproven::StorageNotQuiet,
        _ => return Err(Undecodable),
    }))
}

impl Half for WatchdogWish {
    fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        let mut to = Writer::new(out);
        to.wish(self);
        Ok(to.len())
    }

    fn decode(&mut self, bytes: &[u8]) -> Decoded<()> {
        let mut from = Reader::new(bytes);
        *self = from.wish()?;
        from.end()
    }
}

impl Half for WatchdogReport {
    fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        let mut to = Writer::new(out);
        to.wish(&self.wish);
        to.u8(self.class.code());
        let flags = u8::from(self.open)
            | u8::from(self.nowayout) << 1
            | u8::from(self.deferred) << 2
            | u8::from(self.unseen) << 3;
        to.u8(flags);
        to.text(&self.device);
        to.text(&self.identity);
        to.duration(self.timeout);
        to.instant(self.last_pet);
        to.text(&self.note);
        Ok(to.len())
    }

    fn decode(&mut self, bytes: &[u8]) -> Decoded<()> {
        let mut from = Reader::new(bytes);
        self.wish = from.wish()?;
        self.class = WatchdogClass::from_code(from.u8()?).map_err(|_| Undecodable)?;
        let flags = from.u8()?;
        if flags > 15 {
            return Err(Undecodable);
        }
        (self.open, self.nowayout) = (flags & 1 != 0, flags & 2 != 0);
        (self.deferred, self.unseen) = (flags & 4 != 0, flags & 8 != 0);
        self.device = from.text()?;
        self.identity = from.text()?;
        self.timeout = from.duration()?;
        self.last_pet = from.instant()?;
        self.note = from.text()?;
        from.end()
    }
}

/// Writes at a growing offset. The buffer is large enough for the fullest half: the layout asserts it.
pub(crate) struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(out: &'a mut [u8]) -> Self {
        Self { out, at: 0 }
    }

    /// How much was written.
    pub(crate) fn len(&self) -> usize {
        self.at
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.out[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    fn instant(&mut self, instant: Instant) {
        self.u64(instant.boot_ns);
        self.u64(instant.raw_ns);
    }

    fn duration(&mut self, duration: Duration) {
        self.u64(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn incarnation(&mut self, incarnation: Incarnation) {
        self.bytes(&incarnation.slot.0.to_le_bytes());
        self.u32(incarnation.generation.0);
    }

    fn terms(&mut self, terms: &Terms) {
        self.duration(terms.lease_ttl);
        self.duration(terms.fence_budget);
        self.duration(terms.write_drain);
        self.duration(terms.renewal_interval);
        self.duration(terms.scan_interval);
        self.duration(terms.watchdog_actual);
        self.bytes(&terms.drift_ppm.to_le_bytes());
    }

    fn clean(&mut self, clean: Option<Clean>) {
        self.u8(u8::from(clean.is_some()));
        self.u32(clean.map_or(0, |clean| clean.generation.0));
        self.instant(clean.map_or_else(Instant::default, |clean| clean.at));
        self.u8(u8::from(clean.is_some_and(|clean| clean.forced)));
    }

    fn unknown_write(&mut self, write: &UnknownWrite) {
        self.u64(write.offset);
        self.instant(write.issued);
    }

    fn token(&mut self, token: &StartToken) {
        self.bytes(&token.domain.0);
        self.u32(token.term.0);
        self.instant(token.opened);
    }

    fn quiesce(&mut self, target: &QuiesceTarget) {
        self.u8(match target.kind {
            StorageKind::OneKernel => 0,
            StorageKind::Nfs => 1,
            StorageKind::Iscsi => 2,
            StorageKind::Unprovable => 3,
        });
        self.u64(target.device);
    }

    pub(crate) fn text<const N: usize>(&mut self, text: &Text<N>) {
        let bytes = text.as_str().as_bytes();
        self.u8(u8::try_from(bytes.len()).unwrap_or_default());
        self.bytes(bytes);
    }

    fn wish(&mut self, wish: &WatchdogWish) {
        let (code, path) = match wish.device {
            WatchdogDevice::None => (0, DevicePath::default()),
            WatchdogDevice::Auto => (1, DevicePath::default()),
            WatchdogDevice::Path(path) => (2, path),
        };
        self.u8(code);
        self.text(&path);
        self.duration(wish.timeout);
    }

    fn own(&mut self, own: &OwnLease) {
        self.bytes(&own.domain.0);
        self.u32(own.term.0);
        self.u8(u8::from(own.ran) | u8::from(own.outgoing) << 1);
    }

    fn process(&mut self, process: &DomainProcess) {
        self.bytes(&process.domain.0);
        self.u32(process.pid);
        self.u64(process.start_time);
        self.u64(process.scan);
    }

    fn list<T>(
        &mut self,
        what: &'static str,
        most: usize,
        items: &[T],
        each: impl Fn(&mut Self, &T),
    ) -> Result<(), EncodeError> {
        let too_many = EncodeError::TooMany { what, count: items.len(), most };
        if items.len() > most {
            return Err(too_many);
        }
        self.u32(u32::try_from(items.len()).map_err(|_| too_many)?);
        items.iter().for_each(|item| each(self, item));
        Ok(())
    }
}

/// Takes bytes off the front.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    fn array<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        let (front, rest) = self.bytes.split_first_chunk::<N>().ok_or(Undecodable)?;
        self.bytes = rest;
        Ok(*front)
    }

    pub(crate) fn end(&self) -> Decoded<()> {
        if self.bytes.is_empty() { Ok(()) } else { Err(Undecodable) }
    }

    pub(crate) fn u8(&mut self) -> Decoded<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn bool(&mut self) -> Decoded<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Undecodable),
        }
    }

    pub(crate) fn u16(&mut self) -> Decoded<u16> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Decoded<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Decoded<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn instant(&mut self) -> Decoded<Instant> {
        Ok(Instant { boot_ns: self.u64()?, raw_ns: self.u64()? })
    }

    fn duration(&mut self) -> Decoded<Duration> {
        Ok(Duration::from_nanos(self.u64()?))
    }

    pub(crate) fn incarnation(&mut self) -> Decoded<Incarnation> {
        Ok(Incarnation { slot: Slot(self.u16()?), generation: Generation(self.u32()?) })
    }

    fn terms(&mut self) -> Decoded<Terms> {
        Ok(Terms {
            lease_ttl: self.duration()?,
            fence_budget: self.duration()?,
            write_drain: self.duration()?,
            renewal_interval: self.duration()?,
            scan_interval: self.duration()?,
            watchdog_actual: self.duration()?,
            drift_ppm: self.u16()?,
        })
    }

    fn clean(&mut self) -> Decoded<Option<Clean>> {
        let is_clean = self.bool()?;
        let generation = Generation(self.u32()?);
        let clean = Clean { generation, at: self.instant()?, forced: self.bool()? };
        Ok(is_clean.then_some(clean))
    }

    fn unknown_write(&mut self) -> Decoded<UnknownWrite> {
        Ok(UnknownWrite { offset: self.u64()?, issued: self.instant()? })
    }

    fn token(&mut self) -> Decoded<StartToken> {
        Ok(StartToken { domain: DomainId(self.array()?), term: Term(self.u32()?), opened: self.instant()? })
    }

    fn quiesce(&mut self) -> Decoded<QuiesceTarget> {
        let kind = match self.u8()? {
            0 => StorageKind::OneKernel,
            1 => StorageKind::Nfs,
            2 => StorageKind::Iscsi,
            3 => StorageKind::Unprovable,
            _ => return Err(Undecodable),
        };
        Ok(QuiesceTarget { kind, device: self.u64()? })
    }

    pub(crate) fn text<const N: usize>(&mut self) -> Decoded<Text<N>> {
        let len = usize::from(self.u8()?);
        let (text, rest) = self.bytes.split_at_checked(len).ok_or(Undecodable)?;
        self.bytes = rest;
        let text = std::str::from_utf8(text).map_err(|_| Undecodable)?;
        Text::new(text).ok_or(Undecodable)
    }

    fn wish(&mut self) -> Decoded<WatchdogWish> {
        let (code, path) = (self.u8()?, self.text()?);
        let device = match code {
            0 => WatchdogDevice::None,
            1 => WatchdogDevice::Auto,
            2 => WatchdogDevice::Path(path),
            _ => return Err(Undecodable),
        };
        Ok(WatchdogWish { device, timeout: self.duration()? })
    }

    fn own(&mut self) -> Decoded<OwnLease> {
        let (domain, term) = (DomainId(self.array()?), Term(self.u32()?));
        let flags = self.u8()?;
        if flags > 3 {
            return Err(Undecodable);
        }
        Ok(OwnLease { domain, term, ran: flags & 1 != 0, outgoing: flags & 2 != 0 })
    }

    fn process(&mut self) -> Decoded<DomainProcess> {
        Ok(DomainProcess {
            domain: DomainId(self.array()?),
            pid: self.u32()?,
            start_time: self.u64()?,
            scan: self.u64()?,
        })
    }

    fn list<T>(
        &mut self,
        most: usize,
        items: &mut Vec<T>,
        each: impl Fn(&mut Self) -> Decoded<T>,
    ) -> Decoded<()> {
        let count = usize::try_from(self.u32()?).map_err(|_| Undecodable)?;
        if count > most {
            return Err(Undecodable);
        }
        items.clear();
        for _ in 0..count {
            items.push(each(self)?);
        }
        Ok(())
    }
}
