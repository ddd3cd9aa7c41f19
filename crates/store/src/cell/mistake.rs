//! Mistakes that decide two values or lose one. They can be planted only with the feature
//! `planted`, which the tests of this crate switch on to prove that the model would catch them;
//! without it every question below is answered "no" at compile time.

/// One planted mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(not(feature = "planted"), expect(dead_code, reason = "constructed by tests only"))]
pub enum Mistake {
    /// A newcomer votes as soon as it is asked, with no value and no promise.
    NewcomerStartsEmpty,
    /// A newcomer votes as soon as it sees that it shall be named, with the promise alone.
    NewcomerStartsWithPromiseAlone,
    /// A newcomer accepts the value that names it, and so counts towards its own naming.
    NewcomerCountedTooEarly,
    /// A voter whose disk was emptied goes on under its old id.
    EmptiedVoterKeepsId,
    /// An id that left the list is named again, and its old record votes.
    IdNamedAgain,
    /// Promises are counted by the nodes that were asked, not by the list in the value read.
    NotAskingAnew,
    /// A voter does not keep the promise of `next`.
    NextNotKept,
    /// A proposer uses `next` though it does not know that a majority accepted.
    NextUsedAfterUnknown,
    /// A voter accepts below its promise.
    PromiseNotKept,
    /// A proposer uses the ballots of its former run again.
    BallotReusedAfterRestart,
    /// Lost is answered from a bare promise.
    LostBeforeDecided,
    /// `recent` keeps the last few attempts of all nodes together.
    RecentIsShortList,
}

/// What is planted in one machine; nothing, in the product.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Planted {
    #[cfg(feature = "planted")]
    mistake: Option<Mistake>,
}

impl Planted {
    #[cfg(feature = "planted")]
    pub(crate) fn new(mistake: Option<Mistake>) -> Self {
        Planted { mistake }
    }

    #[cfg(feature = "planted")]
    pub(crate) fn has(self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    #[cfg(not(feature = "planted"))]
    #[inline(always)]
    pub(crate) fn has(self, _mistake: Mistake) -> bool {
        false
    }
}
