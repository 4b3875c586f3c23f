//! What a look at a half of the page finds, its owner's or the other's, and what each side may make of it.

use crate::fencing::{AgentHalf, FencerHalf, PageView, RestoredPage};

/// What a look at one half of the page found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HalfReading<T> {
    /// It was never written.
    Empty,
    /// The newest whole slot.
    Good(T),
    /// No slot is whole, or the newest one seen before has become unreadable: nothing in this half may be trusted.
    Bad,
}

impl<T> HalfReading<T> {
    /// The half, where it may be trusted. A process that finds what its predecessor left (the agent its own half, the
    /// fencer both) starts from this: what cannot be trusted is as if it were not there.
    #[must_use]
    pub fn good(self) -> Option<T> {
        match self {
            Self::Good(half) => Some(half),
            Self::Empty | Self::Bad => None,
        }
    }

    /// The same, of a half that stays where it is.
    #[must_use]
    pub fn as_ref(&self) -> HalfReading<&T> {
        match self {
            Self::Empty => HalfReading::Empty,
            Self::Good(half) => HalfReading::Good(half),
            Self::Bad => HalfReading::Bad,
        }
    }

    /// True when somebody has written it, whether that can be read or not.
    #[must_use]
    pub fn was_written(&self) -> bool {
        !matches!(self, Self::Empty)
    }
}

impl<'a> From<HalfReading<&'a AgentHalf>> for PageView<'a> {
    fn from(reading: HalfReading<&'a AgentHalf>) -> Self {
        reading.good().map_or(PageView::Unreadable, PageView::Good)
    }
}

impl<'a> RestoredPage<'a> {
    /// The page as a fencer that starts has read its two halves.
    #[must_use]
    pub fn read(own: HalfReading<&'a FencerHalf>, agent: HalfReading<&'a AgentHalf>) -> Self {
        Self { own: own.good(), agent: agent.good() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_half_is_as_good_as_none_and_was_written_all_the_same() {
        let half = AgentHalf::default();
        assert_eq!(PageView::from(HalfReading::Good(&half)), PageView::Good(&half));
        assert_eq!(PageView::from(HalfReading::Bad), PageView::Unreadable);
        assert_eq!(PageView::from(HalfReading::Empty), PageView::Unreadable);
        assert_eq!(RestoredPage::read(HalfReading::Bad, HalfReading::Bad), RestoredPage::default());
        assert!(HalfReading::<u8>::Bad.was_written() && !HalfReading::<u8>::Empty.was_written());
    }
}
