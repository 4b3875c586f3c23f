//! What a host says of itself in one word: its state, what resets it, and what it permits.

use super::codes::codes;
use super::sector::DecodeError;

/// What a host says it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum HostState {
    /// No lease yet; nobody but an operator can call it gone.
    #[default]
    Joining,
    /// It holds its lease.
    Held,
    /// Its lease has ended: the fencer has latched the end and is at work.
    Fencing,
    /// Its receipt: zero domains, zero start tokens, quiesced.
    Fenced,
    /// It stopped cleanly with zero domains.
    Released,
    /// In maintenance: it never expires.
    Disarmed,
    /// The slot is nobody's.
    Free,
}

/// What resets a host that cannot fence itself. Stronger is greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub enum WatchdogClass {
    /// Nothing.
    #[default]
    None,
    /// A timer of the same kernel: a crashed kernel is never reset by it.
    Soft,
    /// A virtual machine's watchdog: the whole host can be paused.
    Virtual,
    /// A device of its own.
    Hardware,
}

codes! { HostState, "state":
    Joining = 1 "joining", Held = 2 "held", Fencing = 3 "fencing", Fenced = 4 "fenced",
    Released = 5 "released", Disarmed = 6 "disarmed", Free = 7 "free",
}
codes! { WatchdogClass, "watchdog class":
    None = 0 "none", Soft = 1 "soft", Virtual = 2 "virtual", Hardware = 3 "hardware",
}

/// Flags of a record. Unknown bits are kept as they are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct RecordFlags(pub u16);

impl RecordFlags {
    /// The host resets itself when it cannot prove that it is clean.
    pub const RESET_ON: Self = Self(1);
    /// The host lets its peers call it expired although its watchdog is not hardware.
    pub const EXPIRE_WITHOUT_HARDWARE: Self = Self(2);
    /// The host asks all others to disarm (PROTOCOL 6). A release that does not know it does nothing.
    pub const ASKS_DISARM: Self = Self(4);
    /// The host asks all others to arm again.
    pub const ASKS_ARM: Self = Self(8);
    /// The host is disarmed, and its fencer has let go. For people: what decides is the state.
    pub const LET_GO: Self = Self(16);
    /// The host says `held` and is on its way to `disarmed` or `released`. For people, as before.
    pub const WEAKENS: Self = Self(32);

    /// True when every bit of `other` is set.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// With the bits of `other` set or cleared.
    #[must_use]
    pub fn set(self, other: Self, on: bool) -> Self {
        if on { Self(self.0 | other.0) } else { Self(self.0 & !other.0) }
    }
}
