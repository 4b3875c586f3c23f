//! How the page changes hands: a unix socket (`SOCK_SEQPACKET`, mode 0600) on which the fencer listens.
//!
//! The agent says hello, and sends its copy of the page along when it has one; the fencer answers with the page that is to
//! be used, which is the agent's copy when the fencer has lost its own. The link stays open, so that each sees the other's
//! death at once. Nothing else travels here: what agent and fencer say to each other lies in the page.

mod client;
mod message;
mod server;

pub use client::{Attached, FencerLink};
pub use message::LinkError;
pub use server::{LinkServer, Offer, OfferId};
