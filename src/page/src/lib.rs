//! The memory that agent and fencer share (PROTOCOL 8): a sealed memfd with one half for each, and the socket by which
//! it changes hands.
//!
//! Each half is two CRC'd slots that its only writer fills in turn, so that a reader always finds one whole slot,
//! whatever instant the writer was stopped or killed at. This crate lays out bytes and never decides anything: what the
//! halves mean is `leasefence_core::fencing`.
//!
//! # How it is used
//! - The fencer: [`Page::create`] (or [`Page::from_fd`] for one that it got back), [`FencerPage::new`], then
//!   [`FencerPage::read_agent`] and [`FencerPage::write`]; hands the page out through [`link::LinkServer`].
//! - The agent: [`link::FencerLink::attach`] gives a [`Page`]; [`AgentPage::new`], [`AgentPage::read_own`] once at start,
//!   then [`AgentPage::write`] and [`AgentPage::read_fencer`].
//!
//! # Restarts
//! - *Agent restarted*: it attaches, is given the same page, and reads its own half: incarnation, issued sequence, unknown
//!   writes, tokens and own leases are as its predecessor left them.
//! - *Fencer restarted, page in systemd's fd store*: it finds the page under its name among the passed descriptors. The
//!   agent's link breaks; it attaches again and is given the same page ([`link::Attached::Same`]).
//! - *Fencer restarted without the page while armed* (the marker in the run directory says so): it listens, and waits at
//!   most one pet interval (0.25 s, part of the inequality that bounds the fence budget) for an agent that attaches and
//!   offers its copy. If none comes it takes the lease for expired, kills, and makes a new page. A copy that comes later is
//!   still taken over for what it says of open start tokens, but the lease stays ended.
//! - *Both lost*: expired, and unproven until the next boot, since nobody knows which starts were permitted.

mod agent_half;
mod agent_page;
mod codec;
mod fencer_page;
mod layout;
pub mod link;
mod page;
mod reset;
mod rungs;
mod slots;
#[cfg(test)]
mod tests;
mod text;
mod watchdog;

pub use agent_half::{AGENT_HALF_BYTES, AgentHalfIn};
pub use agent_page::AgentPage;
pub use codec::EncodeError;
pub use fencer_page::FencerPage;
pub use layout::{
    LAYOUT_VERSION, MAX_COVERED, MAX_EXEMPT, MAX_OWN_LEASES, MAX_PROCESSES, MAX_QUIESCE_TARGETS, MAX_TOKENS,
    MAX_UNKNOWN_WRITES, PAGE_BYTES, PATH_BYTES,
};
pub use leasefence_core::fencing::HalfReading;
pub use page::{Page, PageError};
pub use reset::{ResetReport, ResetWish};
pub use rungs::Rungs;
pub use slots::Words;
pub use text::Text;
pub use watchdog::{DevicePath, UNSEEN, WatchdogDevice, WatchdogReport, WatchdogWish};
