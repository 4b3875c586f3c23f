//! What `leasefence-hook` does, and what the agent needs of it to answer: the question and its answer on the socket, the file
//! of exempt domains, the note of denied starts. It depends on nothing but the standard library, and asks neither libvirt,
//! which would wait for its own hook, nor shared storage.

mod configured;
mod decide;
mod definition;
mod exempt;
mod later;
mod wire;

pub use configured::{CONFIG_PATH, Configured};
pub use decide::{Arguments, DEADLINE, Decision, decide};
pub use definition::uuid_of;
pub use exempt::{ExemptFile, Unwritten};
pub use later::{LATER_FILE, note_later, take_later};
pub use wire::{Answer, Operation, Question, SOCKET_NAME, WireError};
