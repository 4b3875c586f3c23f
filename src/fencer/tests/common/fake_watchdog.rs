//! A watchdog that is a file: a FUSE server of one file answers the calls of `/dev/watchdog` and notes when each came. So
//! tests see every pet, and no device of this machine is ever touched.

#![allow(dead_code, reason = "not every test file uses all of it")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use leasefence_core::time::Instant;
use nix::libc::{EBUSY, EINVAL, ENODEV, ENOSYS, ENOTTY};
use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// `WDIOF_SETTIMEOUT | WDIOF_PRETIMEOUT | WDIOF_KEEPALIVEPING`.
const OPTIONS: u32 = 0x8280;
const MAGIC_CLOSE: u32 = 0x0100;
const IN_HEADER: usize = 40;

/// What somebody did to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Deed {
    Open,
    SetTimeout(u32),
    SetPretimeout(u32),
    Pet,
    /// A write; true for the magic letter.
    Write(bool),
    /// The last descriptor was closed.
    Release,
}

/// How it answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Manners {
    pub(crate) identity: &'static str,
    /// `WDIOF_MAGICCLOSE`.
    pub(crate) magic_close: bool,
    /// The driver sets a multiple of it, at least as much as asked for, in seconds.
    pub(crate) step: u32,
    /// No pet is answered any more.
    pub(crate) hangs: bool,
    /// Whoever opens it waits for ever.
    pub(crate) opening_hangs: bool,
    /// A pet takes that long.
    pub(crate) pet_takes: Duration,
    /// The interrupt before the reset cannot be turned off.
    pub(crate) keeps_pretimeout: bool,
    /// The driver was unloaded.
    pub(crate) is_gone: bool,
}

#[derive(Default)]
struct Seen {
    deeds: Vec<(Instant, Deed)>,
    is_open: bool,
    timeout: u32,
}

/// The file and its server.
pub(crate) struct FakeWatchdog {
    path: PathBuf,
    manners: Arc<Mutex<Manners>>,
    seen: Arc<Mutex<Seen>>,
    server: Option<JoinHandle<()>>,
}

impl FakeWatchdog {
    /// Puts it at `path`, in this mount namespace.
    pub(crate) fn at(path: &Path) -> Self {
        fs::write(path, "").unwrap();
        let fuse = OpenOptions::new().read(true).write(true).open("/dev/fuse").unwrap();
        let options = format!("fd={},rootmode=100600,user_id=0,group_id=0,allow_other", fuse.as_raw_fd());
        mount(Some("watchdog"), path, Some("fuse"), MsFlags::MS_NOSUID, Some(options.as_str())).unwrap();
        let manners = Arc::new(Mutex::new(Manners {
            identity: "A test's",
            magic_close: true,
            step: 1,
            hangs: false,
            opening_hangs: false,
            pet_takes: Duration::ZERO,
            keeps_pretimeout: false,
            is_gone: false,
        }));
        let seen = Arc::<Mutex<Seen>>::default();
        let server = Server { fuse, manners: Arc::clone(&manners), seen: Arc::clone(&seen) };
        let server = std::thread::spawn(move || server.serve());
        Self { path: path.to_owned(), manners, seen, server: Some(server) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Changes how it answers.
    pub(crate) fn behaves(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.manners.lock().unwrap());
    }

    /// All that was done to it so far.
    pub(crate) fn deeds(&self) -> Vec<(Instant, Deed)> {
        self.seen.lock().unwrap().deeds.clone()
    }

    /// How often it was done.
    pub(crate) fn count(&self, deed: Deed) -> usize {
        self.deeds().iter().filter(|(_, seen)| *seen == deed).count()
    }

    /// When it was petted.
    pub(crate) fn pets(&self) -> Vec<Instant> {
        self.deeds().into_iter().filter(|(_, deed)| *deed == Deed::Pet).map(|(at, _)| at).collect()
    }
}

impl Drop for FakeWatchdog {
    fn drop(&mut self) {
        // Ends the connection, so that whoever waits for an answer has one, and the server reads an error.
        self.behaves(|manners| manners.hangs = false);
        umount2(&self.path, MntFlags::MNT_FORCE | MntFlags::MNT_DETACH).ok();
        drop(self.server.take());
    }
}

struct Server {
    fuse: File,
    manners: Arc<Mutex<Manners>>,
    seen: Arc<Mutex<Seen>>,
}

/// A request's fixed part and what follows it.
struct Request<'a> {
    opcode: u32,
    unique: u64,
    body: &'a [u8],
}

impl Server {
    fn serve(mut self) {
        let mut bytes = vec![0; 1 << 18];
        while let Ok(len) = self.fuse.read(&mut bytes) {
            let request = Request {
                opcode: u32_at(&bytes, 4),
                unique: u64::from_le_bytes(bytes[8..16].try_into().unwrap()),
                body: &bytes[IN_HEADER..len],
            };
            let Some(answer) = self.answer(&request) else { continue };
            let (error, payload) = match answer {
                Ok(payload) => (0, payload),
                Err(errno) => (-errno, Vec::new()),
            };
            let len = u32::try_from(16 + payload.len()).unwrap();
            let mut reply = Vec::from(len.to_le_bytes());
            reply.extend(error.to_le_bytes());
            reply.extend(request.unique.to_le_bytes());
            reply.extend(payload);
            // One whose asker was killed meanwhile is not taken any more.
            self.fuse.write_all(&reply).ok();
        }
    }

    fn did(&self, deed: Deed) {
        self.seen.lock().unwrap().deeds.push((leasefence_clock::instant(), deed));
    }

    /// None: no answer is wanted, or none is given.
    fn answer(&self, request: &Request<'_>) -> Option<Result<Vec<u8>, i32>> {
        Some(match request.opcode {
            // FORGET, INTERRUPT, BATCH_FORGET
            2 | 36 | 42 => return None,
            // GETATTR, SETATTR
            3 | 4 => {
                Ok(words(&[0, 3600, 0, 0], &[1, 0, 0, 0, 0, 0], &[0, 0, 0, 0o100_600, 1, 0, 0, 0, 4096, 0]))
            }
            // OPEN, with direct I/O
            14 if self.manners.lock().unwrap().opening_hangs => return None,
            14 => self.open(),
            // WRITE
            16 => {
                let data = &request.body[40..];
                self.did(Deed::Write(data.contains(&b'V')));
                Ok(words(&[u32::try_from(data.len()).unwrap(), 0], &[], &[]))
            }
            // RELEASE
            18 => {
                self.seen.lock().unwrap().is_open = false;
                self.did(Deed::Release);
                Ok(Vec::new())
            }
            // INIT: protocol 7.31
            26 => {
                let mut out = words(&[7, 31, 0, 0, 0, 1 << 16, 1, 0], &[], &[]);
                out.resize(64, 0);
                Ok(out)
            }
            // FLUSH, ACCESS
            25 | 34 => Ok(Vec::new()),
            39 => return self.ioctl(request.body),
            _ => Err(ENOSYS),
        })
    }

    fn open(&self) -> Result<Vec<u8>, i32> {
        if std::mem::replace(&mut self.seen.lock().unwrap().is_open, true) {
            return Err(EBUSY);
        }
        self.did(Deed::Open);
        Ok(words(&[0, 0, 1, 0], &[], &[]))
    }

    fn ioctl(&self, body: &[u8]) -> Option<Result<Vec<u8>, i32>> {
        let manners = self.manners.lock().unwrap().clone();
        let (command, data) = (u32_at(body, 12), &body[32..]);
        if command >> 8 & 0xff != u32::from(b'W') {
            return Some(Err(ENOTTY));
        }
        if manners.is_gone {
            return Some(Err(ENODEV));
        }
        let mut out = vec![0; 16];
        match command & 0xff {
            0 => {
                let magic_close = if manners.magic_close { MAGIC_CLOSE } else { 0 };
                out.extend(words(&[OPTIONS | magic_close, 0], &[], &[]));
                let mut identity = [0; 32];
                identity[..manners.identity.len()].copy_from_slice(manners.identity.as_bytes());
                out.extend(identity);
            }
            5 if manners.hangs => return None,
            5 => {
                std::thread::sleep(manners.pet_takes);
                self.did(Deed::Pet);
            }
            6 => {
                let asked = u32_at(data, 0);
                let set = asked.next_multiple_of(manners.step);
                self.seen.lock().unwrap().timeout = set;
                self.did(Deed::SetTimeout(asked));
                out.extend(set.to_le_bytes());
            }
            8 if manners.keeps_pretimeout => return Some(Err(EINVAL)),
            8 => {
                self.did(Deed::SetPretimeout(u32_at(data, 0)));
                out.extend(0_u32.to_le_bytes());
            }
            7 => out.extend(self.seen.lock().unwrap().timeout.to_le_bytes()),
            _ => return Some(Err(ENOTTY)),
        }
        Some(Ok(out))
    }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// Words of 4, of 8 and of 4 bytes.
fn words(first: &[u32], longer: &[u64], last: &[u32]) -> Vec<u8> {
    let bytes = first.iter().flat_map(|word| word.to_le_bytes());
    let bytes = bytes.chain(longer.iter().flat_map(|word| word.to_le_bytes()));
    bytes.chain(last.iter().flat_map(|word| word.to_le_bytes())).collect()
}
