//! The exit codes of `leasefence drill`; wrong usage is 2, by the parser of the command line.

/// Every promise was kept.
pub const KEPT: u8 = 0;
/// A promise was broken.
pub const BROKEN: u8 = 1;
/// Something could not be run.
pub const NOT_RUN: u8 = 3;
