//! The command line: words in, a [`Task`] out.

mod shared;
mod task;
mod way;

pub use task::{Confirm, Given, Question, SetUp, Shown, Task};

use clap::Parser;
use regent_api::call::Ask;
use regent_api::exit::Exit;
use shared::{ActivateLine, Activation, DeactivateLine, SetupSubcommand, StackSubcommand};
use std::path::PathBuf;
use std::time::Duration;
use way::{CONFIG, EXIT_CODES, File, Way};

/// Reads the command line of this process. Help and version end well; a wrong line ends with [`Exit::Usage`].
pub fn parse() -> Result<Task, Exit> {
    parse_from(std::env::args_os())
}

fn parse_from<T: Into<std::ffi::OsString> + Clone>(
    words: impl IntoIterator<Item = T>,
) -> Result<Task, Exit> {
    let words: Vec<std::ffi::OsString> = words.into_iter().map(Into::into).collect();
    let name = words.first().map(std::path::Path::new).and_then(std::path::Path::file_name);
    let task = match name.and_then(std::ffi::OsStr::to_str) {
        Some("activate-xcatmn") => ActivateLine::try_parse_from(words).map(ActivateLine::task),
        Some("deactivate-xcatmn") => {
            DeactivateLine::try_parse_from(words).map(DeactivateLine::task)
        }
        Some(_) | None => Line::try_parse_from(words).map(Line::task),
    };
    match task {
        Ok(task) => Ok(task),
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            // A closed terminal is no reason for another error.
            error.print().ok();
            Err(exit)
        }
    }
}

/// Keeps a management node available: one active, one virtual IP, no acknowledged write lost.
#[derive(Parser)]
#[command(name = "regent", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
struct Line {
    #[command(subcommand)]
    subcommand: Subcommand,
}

#[derive(clap::Subcommand)]
enum Subcommand {
    /// Show where every node is
    Status {
        /// Also every probe of the node that answers
        #[arg(long)]
        probes: bool,
        /// Also what that node measured: swaps, reports, wake-ups
        #[arg(long)]
        timing: bool,
        #[command(flatten)]
        way: Way,
    },
    /// Move the active role to another node, losing nothing
    Switchover {
        /// The node to move to; the eligible standby if left out
        #[arg(long, value_name = "NODE")]
        to: Option<String>,
        /// Only if the node that is asked is active; a host that stops asks so
        #[arg(long)]
        away: bool,
        #[command(flatten)]
        way: Way,
    },
    /// Replace a standby's data by a fresh copy of the active node's
    Resync {
        /// The standby
        #[arg(id = "copied", value_name = "NODE")]
        node: String,
        /// Remove the old data before the copy comes, if there is no room for both
        #[arg(long)]
        in_place: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        way: Way,
    },
    /// Compare both copies of the database while they serve, and name what differs
    VerifyDb {
        /// Per cent of the time during which it reads, on both nodes [default: as configured]
        #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
        duty: Option<u8>,
        #[command(flatten)]
        way: Way,
    },
    /// Shared data: bring everything up on this node
    Activate {
        #[command(flatten)]
        activation: Activation,
        #[command(flatten)]
        way: Way,
    },
    /// Shared data: take everything down on this node, and leave it down
    Deactivate {
        /// Show what would be done, and change nothing
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        way: Way,
    },
    /// Shared data: look at the steps of this node
    Stack {
        #[command(subcommand)]
        subcommand: StackSubcommand,
    },
    /// Set this host up, from the configuration to the first activation
    Setup {
        #[command(subcommand)]
        subcommand: SetupSubcommand,
    },
    /// Say why this node is where it is, and what blocks it
    Explain {
        #[command(flatten)]
        way: Way,
    },
    /// Show what happened on a node
    History {
        /// At most this many of the last events
        #[arg(long, default_value_t = 50, value_name = "N")]
        last: usize,
        /// On every member, as one timeline
        #[arg(long)]
        cluster: bool,
        #[command(flatten)]
        way: Way,
    },
    /// Make the cluster: run once, on the node whose data shall be served
    Init {
        #[command(flatten)]
        way: Way,
    },
    /// Take a node out of what Regent does, or back in: no candidate, its services left alone
    Maintenance {
        #[command(subcommand)]
        subcommand: MaintenanceSubcommand,
    },
    /// Suspend succession and restarts on every node; the holder goes on; ends by itself
    Pause {
        /// For how long: 30s, 10m, 1h
        #[arg(long = "for", value_name = "TIME", value_parser = length, required_unless_present = "off")]
        length: Option<Duration>,
        /// End it
        #[arg(long, conflicts_with = "length")]
        off: bool,
        #[command(flatten)]
        way: Way,
    },
    /// Stop or start everything that Regent manages, on every node
    Cluster {
        #[command(subcommand)]
        subcommand: ClusterSubcommand,
    },
    /// Power a node off by its own fence
    #[command(args_conflicts_with_subcommands = true)]
    Fence {
        #[command(subcommand)]
        subcommand: Option<FenceSubcommand>,
        /// The node to fence
        #[arg(id = "fenced", value_name = "NODE", required = true)]
        node: Option<String>,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        way: Way,
    },
    /// Two hosts on shared data: let NODE vote again, which came back after the other one was activated alone
    Rejoin {
        /// The node that came back
        #[arg(id = "back", value_name = "NODE")]
        node: String,
        #[command(flatten)]
        way: Way,
    },
    /// Manage the voters of the register
    Voter {
        #[command(subcommand)]
        subcommand: VoterSubcommand,
    },
    /// Manage the configuration file
    Config {
        #[command(subcommand)]
        subcommand: ConfigSubcommand,
    },
    /// Look at keepalived's file on this host, where keepalived puts the addresses on
    Keepalived {
        #[command(subcommand)]
        subcommand: KeepalivedSubcommand,
    },
    /// Manage the cluster's own certificate authority
    Ca {
        #[command(subcommand)]
        subcommand: CaSubcommand,
    },
    /// Run the agent of a node (started by systemd)
    Agent {
        /// Shown by ps, and read by nobody
        #[arg(hide = true, value_parser = shown)]
        shown: Option<String>,
        #[command(flatten)]
        file: File,
    },
    /// Run the witness: a voter without resources (started by systemd)
    Witness {
        /// Shown by ps, and read by nobody
        #[arg(hide = true, value_parser = shown)]
        shown: Option<String>,
        #[command(flatten)]
        file: File,
    },
    /// Manage the kernel's gate (started by systemd)
    Gate {
        #[command(subcommand)]
        subcommand: GateSubcommand,
    },
    #[command(hide = true)]
    DatabaseWorker,
    #[command(hide = true)]
    Prober,
}

#[derive(clap::Subcommand)]
enum VoterSubcommand {
    /// Admit the voter on NODE, which lost its disk: the only way back for it
    Admit {
        /// Whose voter
        #[arg(id = "voter", value_name = "NODE")]
        node: String,
        #[command(flatten)]
        way: Way,
    },
}

#[derive(clap::Subcommand)]
enum MaintenanceSubcommand {
    /// Begin, or begin anew with another length
    On {
        /// The node; the one that is asked if left out
        #[arg(id = "maintained", value_name = "NODE")]
        node: Option<String>,
        /// For how long: 30s, 10m, 1h; it ends by itself
        #[arg(long = "for", value_name = "TIME", value_parser = length)]
        length: Duration,
        #[command(flatten)]
        way: Way,
    },
    /// End
    Off {
        /// The node; the one that is asked if left out
        #[arg(id = "maintained", value_name = "NODE")]
        node: Option<String>,
        #[command(flatten)]
        way: Way,
    },
}

#[derive(clap::Subcommand)]
enum ClusterSubcommand {
    /// Stop services, databases and VIP in order, on every node; the agents stay
    Stop {
        #[command(flatten)]
        way: Way,
    },
    /// Start the stopped cluster
    Start {
        #[command(flatten)]
        way: Way,
    },
}

#[derive(clap::Subcommand)]
enum FenceSubcommand {
    /// Ask every fence for its state, without touching anybody's power
    Test {
        /// Only this node's fence
        #[arg(id = "tested", value_name = "NODE")]
        node: Option<String>,
        #[command(flatten)]
        way: Way,
    },
}

/// A length of time of an option.
fn length(text: &str) -> Result<Duration, String> {
    let length = regent_api::length::parse(text).filter(|length| !length.is_zero());
    length.ok_or_else(|| format!("it must be {}", regent_api::length::EXAMPLES))
}

#[derive(clap::Subcommand)]
enum ConfigSubcommand {
    /// Show what is written, or all that is in force and where it comes from
    Show {
        /// All that is in force, the register's timing included
        #[arg(long)]
        effective: bool,
        /// This file, without asking an agent
        #[arg(long, value_name = "FILE", conflicts_with = "node")]
        file: Option<PathBuf>,
        #[command(flatten)]
        way: Way,
    },
    /// Show what other members have otherwise
    Diff {
        /// Only this one
        #[arg(id = "other", value_name = "NODE")]
        node: Option<String>,
        #[command(flatten)]
        way: Way,
    },
    /// Set one key on every member, or on none; each agent then begins anew, and nothing moves
    Set {
        /// With dots, as in the file: policy.tries
        key: String,
        /// As in the file: 5, "90s", true
        value: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        way: Way,
    },
    /// Take one key out on every member, or on none: its default holds again
    Unset {
        /// With dots, as in the file: policy.tries
        key: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        way: Way,
    },
    /// Print the JSON Schema of the file, for editors
    Schema,
    /// Check the configuration file and its timing, and say what is wrong with it
    Check {
        /// Which file
        #[arg(default_value = CONFIG)]
        file: PathBuf,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(clap::Subcommand)]
enum KeepalivedSubcommand {
    /// Print the file, and whose it is
    Show {
        #[command(flatten)]
        file: File,
    },
    /// Print where it differs from what Regent renders (exit 5 if it does)
    Diff {
        #[command(flatten)]
        file: File,
    },
    /// Render it anew and have keepalived read it; what somebody else wrote is saved beside it
    Repair {
        #[command(flatten)]
        file: File,
    },
}

#[derive(clap::Subcommand)]
enum CaSubcommand {
    /// Make the authority; keep its directory off the nodes
    Init {
        /// Where it is kept
        #[arg(long)]
        dir: PathBuf,
    },
    /// Issue ca.crt, node.crt and node.key for a node; again to renew
    Issue {
        /// The node's name in the configuration
        node: String,
        /// Where the authority is
        #[arg(long)]
        dir: PathBuf,
        /// Where the three files go
        #[arg(long)]
        out: PathBuf,
    },
}

#[derive(clap::Subcommand)]
enum GateSubcommand {
    /// Load the kernel's table, closed, before the network is up
    Load {
        #[command(flatten)]
        file: File,
    },
}

fn ms(length: Duration) -> u64 {
    length.as_millis() as u64
}

impl Line {
    fn task(self) -> Task {
        match self.subcommand {
            Subcommand::Status { probes, timing, way } => {
                way.showing(Ask::Status, Shown { probes, timing })
            }
            Subcommand::Switchover { to, away, way } => way.to(Ask::Switchover { to, away }),
            Subcommand::VerifyDb { duty, way } => way.to(Ask::VerifyDb { duty }),
            Subcommand::Resync { node, in_place, yes, way } => way.resync(node, in_place, yes),
            Subcommand::Activate { activation, way } => {
                let confirm = activation.confirm();
                way.confirming(activation.ask(), confirm)
            }
            Subcommand::Deactivate { dry_run, way } => way.to(Ask::Deactivate { dry_run }),
            Subcommand::Stack { subcommand: StackSubcommand::Show { way } } => {
                way.to(Ask::StackShow)
            }
            Subcommand::Stack { subcommand: StackSubcommand::Repair { way } } => {
                way.to(Ask::StackRepair)
            }
            Subcommand::Setup {
                subcommand:
                    SetupSubcommand::SharedData { standby, yes, readdress, file, tls, socket },
            } => Task::SetUp(SetUp { standby, yes, readdress, config: file.config, socket, tls }),
            Subcommand::Explain { way } => way.to(Ask::Explain),
            Subcommand::History { last, cluster, way } => way.to(Ask::History { last, cluster }),
            Subcommand::Maintenance {
                subcommand: MaintenanceSubcommand::On { node, length, way },
            } => way.to(Ask::Maintenance { node, for_ms: Some(ms(length)) }),
            Subcommand::Maintenance { subcommand: MaintenanceSubcommand::Off { node, way } } => {
                way.to(Ask::Maintenance { node, for_ms: None })
            }
            Subcommand::Pause { length, off: _, way } => {
                way.to(Ask::Pause { for_ms: length.map(ms) })
            }
            Subcommand::Cluster { subcommand: ClusterSubcommand::Stop { way } } => {
                way.to(Ask::Stop)
            }
            Subcommand::Cluster { subcommand: ClusterSubcommand::Start { way } } => {
                way.to(Ask::Start)
            }
            Subcommand::Fence { subcommand: Some(FenceSubcommand::Test { node, way }), .. } => {
                way.to(Ask::FenceTest { node })
            }
            Subcommand::Fence { subcommand: None, node, yes, way } => {
                let node = node.unwrap_or_default();
                let text = format!("power off {node} by its fence");
                let confirm = if yes { Confirm::No } else { Confirm::Say(text) };
                way.confirming(Ask::Fence { node }, confirm)
            }
            Subcommand::Init { way } => way.to(Ask::Init),
            Subcommand::Rejoin { node, way } => way.to(Ask::Rejoin { node }),
            Subcommand::Voter { subcommand: VoterSubcommand::Admit { node, way } } => {
                way.to(Ask::AdmitVoter { node })
            }
            Subcommand::Config { subcommand: ConfigSubcommand::Check { file, json } } => {
                Task::ConfigCheck { file, json }
            }
            Subcommand::Config {
                subcommand: ConfigSubcommand::Show { effective, file: Some(file), .. },
            } => Task::ConfigShow { file, effective },
            Subcommand::Config {
                subcommand: ConfigSubcommand::Show { effective, file: None, way },
            } => way.to(Ask::ConfigShow { effective }),
            Subcommand::Config { subcommand: ConfigSubcommand::Diff { node, way } } => {
                way.to(Ask::ConfigDiff { node })
            }
            Subcommand::Config { subcommand: ConfigSubcommand::Set { key, value, yes, way } } => {
                way.setting(key, Some(value), yes)
            }
            Subcommand::Config { subcommand: ConfigSubcommand::Unset { key, yes, way } } => {
                way.setting(key, None, yes)
            }
            Subcommand::Config { subcommand: ConfigSubcommand::Schema } => Task::ConfigSchema,
            Subcommand::Keepalived { subcommand: KeepalivedSubcommand::Show { file } } => {
                Task::KeepalivedShow(file.config)
            }
            Subcommand::Keepalived { subcommand: KeepalivedSubcommand::Diff { file } } => {
                Task::KeepalivedDiff(file.config)
            }
            Subcommand::Keepalived { subcommand: KeepalivedSubcommand::Repair { file } } => {
                Task::KeepalivedRepair(file.config)
            }
            Subcommand::Ca { subcommand: CaSubcommand::Init { dir } } => Task::CaInit(dir),
            Subcommand::Ca { subcommand: CaSubcommand::Issue { node, dir, out } } => {
                Task::CaIssue { node, authority: dir, out }
            }
            Subcommand::Agent { shown: _, file } => Task::Agent(file.config),
            Subcommand::Witness { shown: _, file } => Task::Witness(file.config),
            Subcommand::Gate { subcommand: GateSubcommand::Load { file } } => {
                Task::GateLoad(file.config)
            }
            Subcommand::DatabaseWorker => Task::DatabaseWorker,
            Subcommand::Prober => Task::Prober,
        }
    }
}

/// The node that an agent is: it puts that on its own command line.
fn shown(text: &str) -> Result<String, &'static str> {
    match text.starts_with('(') && text.ends_with(')') {
        true => Ok(text.into()),
        false => Err("which node this is stands in its certificate"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn task(line: &str) -> Result<Task, Exit> {
        parse_from(line.split_whitespace())
    }

    #[test]
    fn help_lists_every_exit_code_as_the_api_has_it() {
        let lines: Vec<String> =
            Exit::ALL.iter().map(|e| format!("{:>4}  {}", e.number(), e.meaning())).collect();
        assert_eq!(EXIT_CODES, format!("Exit codes:\n{}", lines.join("\n")));
    }

    #[test]
    fn the_line_is_consistent() {
        use clap::CommandFactory;
        Line::command().debug_assert();
    }

    #[test]
    fn a_question_takes_its_way_along() {
        let Ok(Task::Ask(question)) = task("regent switchover --to mn2 --json --node mn1") else {
            panic!("no question")
        };
        assert_eq!(question.ask, Ask::Switchover { to: Some("mn2".into()), away: false });
        assert_eq!((question.json, question.node.as_deref()), (true, Some("mn1")));
        assert_eq!(question.socket, PathBuf::from("/run/regent/regent.sock"));
    }

    #[test]
    fn a_wrong_line_is_a_usage_error_and_help_is_none() {
        assert_eq!(task("regent switch-over"), Err(Exit::Usage));
        assert_eq!(task("regent ca issue mn1"), Err(Exit::Usage));
        assert_eq!(task("regent maintenance on mn2"), Err(Exit::Usage), "it must end");
        assert_eq!(task("regent maintenance on --for 10"), Err(Exit::Usage));
        assert_eq!(task("regent maintenance on --for 0s"), Err(Exit::Usage));
        assert_eq!(task("regent pause"), Err(Exit::Usage));
        assert_eq!(task("regent pause --for 1h --off"), Err(Exit::Usage));
        assert_eq!(task("regent fence"), Err(Exit::Usage));
        assert_eq!(task("regent --help"), Err(Exit::Ok));
    }

    pub(super) fn ask(line: &str) -> Ask {
        match task(line) {
            Ok(Task::Ask(question)) => question.ask,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn what_operators_ask_for() {
        let minutes = |m: u64| Some(m * 60_000);
        let mn2 = || Some("mn2".to_string());
        let maintenance = |node, for_ms| Ask::Maintenance { node, for_ms };
        assert_eq!(ask("regent maintenance on --for 10m"), maintenance(None, minutes(10)));
        assert_eq!(ask("regent maintenance on mn2 --for 90s"), maintenance(mn2(), Some(90_000)));
        assert_eq!(ask("regent maintenance off mn2"), maintenance(mn2(), None));
        assert_eq!(ask("regent pause --for 1h"), Ask::Pause { for_ms: minutes(60) });
        assert_eq!(ask("regent pause --off"), Ask::Pause { for_ms: None });
        assert_eq!(ask("regent cluster stop"), Ask::Stop);
        assert_eq!(ask("regent cluster start --node mn2"), Ask::Start);
        assert_eq!(ask("regent fence test"), Ask::FenceTest { node: None });
        assert_eq!(ask("regent fence test mn2 --json"), Ask::FenceTest { node: mn2() });
        let last = 50;
        assert_eq!(ask("regent history --cluster"), Ask::History { last, cluster: true });
    }

    #[test]
    fn a_fencing_is_confirmed_unless_it_was_said_already() {
        let confirm = |line| match task(line) {
            Ok(Task::Ask(question)) => (question.ask, question.confirm),
            other => panic!("{other:?}"),
        };
        let fence = Ask::Fence { node: "mn2".into() };
        let text = "power off mn2 by its fence".to_string();
        assert_eq!(confirm("regent fence mn2"), (fence.clone(), Confirm::Say(text)));
        assert_eq!(confirm("regent fence mn2 --yes"), (fence, Confirm::No));
        let set =
            |apply| Ask::ConfigSet { key: "policy.tries".into(), value: Some("5".into()), apply };
        let (ask, Confirm::Preview(preview, _)) = confirm("regent config set policy.tries 5")
        else {
            panic!("it is not confirmed")
        };
        assert_eq!((ask, *preview), (set(true), set(false)));
        assert_eq!(confirm("regent config set policy.tries 5 --yes"), (set(true), Confirm::No));
    }

    #[test]
    fn host_commands_are_handed_over() {
        assert_eq!(task("regent gate load"), Ok(Task::GateLoad(CONFIG.into())));
        assert_eq!(
            task("regent ca issue mn1 --dir a --out b"),
            Ok(Task::CaIssue { node: "mn1".into(), authority: "a".into(), out: "b".into() })
        );
        assert_eq!(task("regent database-worker"), Ok(Task::DatabaseWorker));
        assert_eq!(task("regent agent (mn1) --config a"), Ok(Task::Agent("a".into())));
        assert!(task("regent agent mn1").is_err());
    }
}
