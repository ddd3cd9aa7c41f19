//! The words about shared data, and the names and options of xCAT's own commands.

use super::task::{Confirm, Given, Question, Task};
use super::way::{CONFIG, EXIT_CODES, File, SOCKET, TLS, Way};
use clap::{Args, Parser};
use regent_api::call::Ask;
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct Activation {
    /// You switched this node off: its host is looked at, and if anything of it answers this is refused
    #[arg(long = "confirm-peer-is-off", value_name = "NODE")]
    off: Option<String>,
    /// This node's host answers, and its storage is surely gone: its name is to be typed
    #[arg(long = "confirm-peer-cannot-write", value_name = "NODE", conflicts_with = "off")]
    cannot_write: Option<String>,
    /// Ask every guard and the segment, show what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl Activation {
    /// What must be typed before it is asked.
    pub(super) fn confirm(&self) -> Confirm {
        match self.cannot_write.clone().filter(|_| !self.dry_run) {
            None => Confirm::No,
            Some(name) => {
                let text = format!(
                    "nobody checks that {name} cannot write: if it still reaches the shared data, two hosts write to them"
                );
                Confirm::Typed { text, name }
            }
        }
    }

    pub(super) fn ask(self) -> Ask {
        let Activation { off, cannot_write, dry_run } = self;
        Ask::Activate { off, cannot_write, dry_run }
    }
}

/// The options of xCAT's commands. They must be what the configuration says: a difference is refused by name.
#[derive(Args)]
pub(super) struct XcatOptions {
    /// The interface that carries the virtual IP
    #[arg(short = 'i', long, value_name = "NIC")]
    nic: String,
    /// The virtual IP
    #[arg(short = 'v', long, value_name = "VIP")]
    vip: String,
    /// Its mask: 255.255.255.0, or 24
    #[arg(short = 'm', long, visible_alias = "netmask", value_name = "MASK")]
    mask: Option<String>,
    /// The shared directory
    #[arg(short = 'p', long, value_name = "PATH")]
    path: PathBuf,
    /// As JSON, versioned
    #[arg(long)]
    json: bool,
    /// The configuration file
    #[arg(long, default_value = CONFIG, value_name = "FILE")]
    config: PathBuf,
    /// The local agent's socket
    #[arg(long, default_value = SOCKET, value_name = "PATH", hide = true)]
    socket: PathBuf,
}

impl XcatOptions {
    fn task(self, ask: Ask, confirm: Confirm) -> Task {
        let XcatOptions { nic, vip, mask, path, json, config, socket } = self;
        let way = Way { json, node: None, tls: TLS.into(), config, socket };
        let given = Given { nic, vip, mask, path };
        let question = Question { confirm, ..way.question(ask) };
        Task::Xcat { question: Box::new(question), given }
    }
}

/// Bring the management node up on this host: regent activate, by xCAT's name.
#[derive(Parser)]
#[command(name = "activate-xcatmn", version, after_help = EXIT_CODES)]
pub(super) struct ActivateLine {
    #[command(flatten)]
    options: XcatOptions,
    #[command(flatten)]
    activation: Activation,
}

impl ActivateLine {
    pub(super) fn task(self) -> Task {
        let confirm = self.activation.confirm();
        self.options.task(self.activation.ask(), confirm)
    }
}

/// Take the management node down on this host: regent deactivate, by xCAT's name.
#[derive(Parser)]
#[command(name = "deactivate-xcatmn", version, after_help = EXIT_CODES)]
pub(super) struct DeactivateLine {
    #[command(flatten)]
    options: XcatOptions,
    /// Show what would be done, and change nothing
    #[arg(long)]
    dry_run: bool,
}

impl DeactivateLine {
    pub(super) fn task(self) -> Task {
        self.options.task(Ask::Deactivate { dry_run: self.dry_run }, Confirm::No)
    }
}

#[derive(clap::Subcommand)]
pub(super) enum StackSubcommand {
    /// Show where each step is, what it does, what drifted and what is in the way
    Show {
        #[command(flatten)]
        way: Way,
    },
    /// Bring back what drifted: a unit that was enabled, a link that was replaced
    Repair {
        #[command(flatten)]
        way: Way,
    },
}

#[derive(clap::Subcommand)]
pub(super) enum SetupSubcommand {
    /// Make this host a node of a stack on shared data; run again, it goes on where it stopped
    SharedData {
        /// This host ends passive, installed and ready
        #[arg(long)]
        standby: bool,
        /// Do not ask whether the other host may be interrupted while the product is installed here
        #[arg(long, requires = "standby")]
        yes: bool,
        /// The present address of this host becomes the virtual IP, and this one its own: 10.0.0.12/24
        #[arg(long, value_name = "ADDRESS/PREFIX")]
        readdress: Option<String>,
        #[command(flatten)]
        file: File,
        /// The certificates
        #[arg(long, default_value = TLS, value_name = "DIR", hide = true)]
        tls: PathBuf,
        /// The local agent's socket
        #[arg(long, default_value = SOCKET, value_name = "PATH", hide = true)]
        socket: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::tests::{ask, task};
    use clap::CommandFactory;
    use regent_api::exit::Exit;

    #[test]
    fn the_lines_are_consistent() {
        ActivateLine::command().debug_assert();
        DeactivateLine::command().debug_assert();
    }

    #[test]
    fn what_is_asked_of_a_stack() {
        let activate = |off: Option<&str>, dry_run| Ask::Activate {
            off: off.map(Into::into),
            cannot_write: None,
            dry_run,
        };
        assert_eq!(ask("regent activate"), activate(None, false));
        assert_eq!(ask("regent activate --dry-run --json"), activate(None, true));
        assert_eq!(ask("regent activate --confirm-peer-is-off mn1"), activate(Some("mn1"), false));
        let cannot = "regent activate --confirm-peer-cannot-write mn1";
        let (off, cannot_write) = (None, Some("mn1".to_string()));
        assert_eq!(ask(cannot), Ask::Activate { off, cannot_write, dry_run: false });
        assert_eq!(task(&format!("{cannot} --confirm-peer-is-off mn1")), Err(Exit::Usage));
        assert_eq!(ask("regent deactivate --dry-run"), Ask::Deactivate { dry_run: true });
        assert_eq!(ask("regent stack show --node mn2"), Ask::StackShow);
        assert_eq!(ask("regent stack repair"), Ask::StackRepair);
        assert_eq!(task("regent activate --confirm-peer-is-off"), Err(Exit::Usage));
        let Ok(Task::SetUp(setup)) = task("regent setup shared-data --standby") else {
            panic!("no setup")
        };
        assert!(setup.standby && !setup.yes);
        let Ok(Task::SetUp(setup)) = task("regent setup shared-data --standby --yes") else {
            panic!("no setup")
        };
        assert!(setup.standby && setup.yes);
        assert_eq!(task("regent setup shared-data --yes"), Err(Exit::Usage));
        let Ok(Task::SetUp(setup)) = task("regent setup shared-data") else { panic!("no setup") };
        assert!(!setup.standby && setup.readdress.is_none());
        let Ok(Task::SetUp(setup)) = task("regent setup shared-data --readdress 10.0.0.12/24")
        else {
            panic!("no setup")
        };
        assert_eq!(setup.readdress.as_deref(), Some("10.0.0.12/24"));
        assert_eq!(task("regent setup"), Err(Exit::Usage));
    }

    #[test]
    fn who_says_that_a_host_cannot_write_types_its_name() {
        let xcat = "activate-xcatmn -i eth0 -v 10.0.0.100 -p /HA-data";
        for line in ["regent activate", xcat] {
            let confirm = |more: &str| match task(&format!("{line} {more}")) {
                Ok(Task::Ask(question) | Task::Xcat { question, .. }) => question.confirm,
                other => panic!("{line}: {other:?}"),
            };
            let typed = confirm("--confirm-peer-cannot-write mn1");
            assert!(matches!(typed, Confirm::Typed { name, .. } if name == "mn1"));
            assert_eq!(confirm("--confirm-peer-cannot-write mn1 --dry-run"), Confirm::No);
            assert_eq!(confirm("--confirm-peer-is-off mn1"), Confirm::No);
        }
    }

    #[test]
    fn by_its_xcat_names_the_binary_takes_xcat_options() {
        let xcat = |line| match task(line) {
            Ok(Task::Xcat { question, given }) => (question.ask, given),
            other => panic!("{line}: {other:?}"),
        };
        let (asked, given) =
            xcat("/usr/bin/activate-xcatmn -i eth0:0 -v 10.0.0.100 -m 255.255.255.0 -p /HA-data");
        let plain = Ask::Activate { off: None, cannot_write: None, dry_run: false };
        assert_eq!(asked, plain);
        assert_eq!((given.nic.as_str(), given.vip.as_str()), ("eth0:0", "10.0.0.100"));
        assert_eq!(given.mask.as_deref(), Some("255.255.255.0"));
        assert_eq!(given.path, PathBuf::from("/HA-data"));
        let long = "deactivate-xcatmn --nic eth0 --vip 10.0.0.100 --netmask 24 --path /HA-data";
        let (asked, given) = xcat(long);
        assert_eq!(asked, Ask::Deactivate { dry_run: false });
        assert_eq!(given.mask.as_deref(), Some("24"));
        for lacking in [
            "activate-xcatmn",
            "activate-xcatmn -v 10.0.0.100 -p /HA-data",
            "activate-xcatmn -i eth0 -p /HA-data",
            "activate-xcatmn -i eth0 -v 10.0.0.100",
            "deactivate-xcatmn -i eth0 -v 10.0.0.100 -p",
        ] {
            assert_eq!(task(lacking), Err(Exit::Usage), "{lacking}");
        }
        assert_eq!(task("activate-xcatmn -h"), Err(Exit::Ok));
    }
}
