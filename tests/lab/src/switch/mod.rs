//! The wires of the lab: a small process that joins the machines' network cards, and drops or delays frames on demand.
//!
//! A machine whose frames are dropped sees silence, as after a switch or a router on the way died; a card without a
//! carrier would be noticed at once, and is what QEMU's own `set_link` is for. Each card is a Unix stream socket that QEMU
//! connects to, with a length of four bytes before each frame.

mod card;
mod control;
mod rules;
mod wires;

pub use control::{Answer, Plugged, Request, SwitchClient, SwitchError};
pub use rules::{Effect, Rule};
pub use wires::run;
