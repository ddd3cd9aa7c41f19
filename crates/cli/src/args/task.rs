//! What a command line comes to.

use regent_api::call::Ask;
use std::path::PathBuf;

/// What is to be done, and by whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Task {
    /// Put a question to an agent.
    Ask(Box<Question>),
    /// Be the agent of a node that runs resources.
    Agent(PathBuf),
    /// Be the witness.
    Witness(PathBuf),
    /// Make the cluster's authority in this directory.
    CaInit(PathBuf),
    /// Issue a node's certificate.
    CaIssue {
        /// The node's name.
        node: String,
        /// Where the authority is.
        authority: PathBuf,
        /// Where the certificate goes.
        out: PathBuf,
    },
    /// Print the schema of the configuration file.
    ConfigSchema,
    /// Show what a configuration file says, without asking an agent.
    ConfigShow {
        /// Which.
        file: PathBuf,
        /// All that is in force by it.
        effective: bool,
    },
    /// Check a configuration file.
    ConfigCheck {
        /// Which.
        file: PathBuf,
        /// As JSON?
        json: bool,
    },
    /// Show keepalived's file and whose it is.
    KeepalivedShow(PathBuf),
    /// Show where keepalived's file is not as rendered.
    KeepalivedDiff(PathBuf),
    /// Render keepalived's file anew.
    KeepalivedRepair(PathBuf),
    /// Activate or deactivate by xCAT's name for it: what is given must be what the configuration says.
    Xcat {
        /// The question that follows.
        question: Box<Question>,
        /// What was given.
        given: Given,
    },
    /// Set this host up for shared data.
    SetUp(SetUp),
    /// Load the kernel's table, closed.
    GateLoad(PathBuf),
    /// Be the child process that speaks to the database.
    DatabaseWorker,
    /// Be the child process that runs the probes.
    Prober,
}

/// A question and the way to whom it is put.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// What is asked.
    pub ask: Ask,
    /// The answer as JSON?
    pub json: bool,
    /// Which parts of a status are shown beside the table.
    pub shown: Shown,
    /// What must be confirmed at the terminal before it is asked.
    pub confirm: Confirm,
    /// Another node than this one.
    pub node: Option<String>,
    /// The local agent's socket.
    pub socket: PathBuf,
    /// The configuration, for another node's address.
    pub config: PathBuf,
    /// The certificates, to prove who asks another node.
    pub tls: PathBuf,
}

/// What must be confirmed at the terminal before a question is put.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Confirm {
    /// Nothing.
    No,
    /// This, in the words of what would be done.
    Say(String),
    /// The same, after this question was answered with what it comes to.
    Preview(Box<Ask>, String),
    /// This name, typed, after what typing it says.
    Typed {
        /// What it says.
        text: String,
        /// The name.
        name: String,
    },
}

/// Which parts of a status are shown beside the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Shown {
    /// Every probe of the node that answers.
    pub probes: bool,
    /// What it measured of its own timing.
    pub timing: bool,
}

/// The options of xCAT's own commands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Given {
    /// The interface, as xCAT takes it: an alias (`eth0:0`) as well.
    pub nic: String,
    /// The virtual IP.
    pub vip: String,
    /// Its mask, dotted or as the length of a prefix; not compared if left out.
    pub mask: Option<String>,
    /// The shared directory.
    pub path: PathBuf,
}

/// What `regent setup shared-data` is asked to do on this host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetUp {
    /// The host ends passive.
    pub standby: bool,
    /// The interruption by the standby's installation is agreed to.
    pub yes: bool,
    /// The host's own new address, where its only one becomes the virtual IP.
    pub readdress: Option<String>,
    /// The configuration.
    pub config: PathBuf,
    /// The local agent's socket.
    pub socket: PathBuf,
    /// The certificates.
    pub tls: PathBuf,
}
