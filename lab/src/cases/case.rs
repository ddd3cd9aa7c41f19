//! What a case is.

use crate::cluster::{Product, Settings};
use crate::fault::Watched;
use crate::passage;
use anyhow::Result;

/// When a case is run without being named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// At every gate: nothing else shows what it shows.
    Default,
    /// At every gate; the whole, of which it is a part, runs in its place when all cases run.
    Part {
        /// The case that has all of it.
        of: &'static str,
    },
    /// Only when all cases run: it shows more of what another case shows, or shows it another way.
    All,
}

/// Which cases run when none is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Scope {
    /// Those of every gate.
    Default,
    /// All of them, each part by its whole.
    All,
}

impl Tier {
    pub(super) fn is_in(self, scope: Scope) -> bool {
        match (self, scope) {
            (Tier::Default, Scope::Default | Scope::All) => true,
            (Tier::Part { of: _ }, Scope::Default) | (Tier::All, Scope::All) => true,
            (Tier::Part { of: _ }, Scope::All) | (Tier::All, Scope::Default) => false,
        }
    }

    /// How a list of cases names it.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Default => "default",
            Tier::Part { of: _ } => "part",
            Tier::All => "all",
        }
    }
}

/// One test.
#[derive(Debug)]
pub struct Case {
    /// For the command line.
    pub name: &'static str,
    /// What it shows, in one line.
    pub about: &'static str,
    /// When it is run.
    pub tier: Tier,
    pub(super) run: Run,
}

/// What it does, and on which hosts.
#[derive(Debug)]
pub(super) enum Run {
    /// On a cluster that is in sync and watched; loss and two owners are looked for afterwards.
    Watched(fn(&mut Watched) -> Result<()>),
    /// The same, with a configuration of its own.
    Configured(fn() -> Settings, fn(&mut Watched) -> Result<()>),
    /// The same as the first, on a cluster of an older release.
    Older(fn(&mut Watched) -> Result<()>),
    /// Brings its own hosts.
    Alone(fn() -> Result<()>),
    /// The same, on hosts with a passage each to the directory in common.
    Passages(fn() -> Result<()>),
}

impl Case {
    /// Why it cannot be run here, if so.
    pub(super) fn obstacle(&self) -> Result<Option<String>> {
        match self.run {
            Run::Older(_) => {
                let older = Product::older()?.regent;
                let why = format!(
                    "no older release: cargo xtask test --all builds {} where the history is whole",
                    older.display()
                );
                Ok((!older.exists()).then_some(why))
            }
            Run::Passages(_) => Ok(passage::obstacle()),
            Run::Watched(_) | Run::Configured(..) | Run::Alone(_) => Ok(None),
        }
    }
}
