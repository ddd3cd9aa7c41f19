//! Where everything of one agent stands on its host.

use std::path::{Path, PathBuf};

/// The directories; the installed ones unless a test has its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// What must outlive the process and the boot.
    pub state: PathBuf,
    /// What ends with the boot.
    pub run: PathBuf,
    /// The certificates.
    pub tls: PathBuf,
}

impl Default for Place {
    fn default() -> Place {
        Place {
            state: "/var/lib/regent".into(),
            run: "/run/regent".into(),
            tls: "/etc/regent/tls".into(),
        }
    }
}

impl Place {
    /// The name of the journal's directory.
    pub(crate) const JOURNAL: &str = "journal";

    /// The name of what is held back of the disk.
    pub(crate) const RESERVE: &str = "reserve";

    /// Everything under one directory, for tests.
    pub fn under(root: &Path) -> Place {
        Place { state: root.join("state"), run: root.join("run"), tls: root.join("tls") }
    }

    /// The voter's durable record.
    pub fn record(&self) -> PathBuf {
        self.state.join("register")
    }

    /// The runs of this node (C6).
    pub fn runs(&self) -> PathBuf {
        self.state.join("runs.json")
    }

    /// The plan of an initialisation that is under way or done.
    pub fn plan(&self) -> PathBuf {
        self.state.join("init.json")
    }

    /// Who is to be active again after this host was set up.
    pub fn set_up(&self) -> PathBuf {
        self.state.join("set-up")
    }

    /// What is to become of the register when the next life begins.
    pub fn turn(&self) -> PathBuf {
        self.state.join("turn.json")
    }

    /// What operators were told.
    pub fn events(&self) -> PathBuf {
        self.state.join("events.jsonl")
    }

    /// Every input and command.
    pub fn journal(&self) -> PathBuf {
        self.state.join(Place::JOURNAL)
    }

    /// Where the command line asks.
    pub fn socket(&self) -> PathBuf {
        self.run.join("regent.sock")
    }
}
