//! The command line: words in, a [`Task`] out.

use clap::{Args, Parser, Subcommand};
use regent_api::call::Ask;
use regent_api::exit::Exit;
use std::path::PathBuf;

/// What is to be done, and by whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Task {
    /// Put a question to an agent.
    Ask(Question),
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
    /// Check a configuration file.
    ConfigCheck {
        /// Which.
        file: PathBuf,
        /// As JSON?
        json: bool,
    },
    /// Load the kernel's table, closed.
    GateLoad(PathBuf),
    /// Be the child process that speaks to the database.
    DatabaseWorker,
}

/// A question and the way to whom it is put.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Question {
    /// What is asked.
    pub ask: Ask,
    /// The answer as JSON?
    pub json: bool,
    /// Another node than this one.
    pub node: Option<String>,
    /// The local agent's socket.
    pub socket: PathBuf,
    /// The configuration, for another node's address.
    pub config: PathBuf,
    /// The certificates, to prove who asks another node.
    pub tls: PathBuf,
}

/// Reads the command line of this process. Help and version end well; a wrong line ends with [`Exit::Usage`].
pub fn parse() -> Result<Task, Exit> {
    parse_from(std::env::args_os())
}

fn parse_from<T: Into<std::ffi::OsString> + Clone>(
    words: impl IntoIterator<Item = T>,
) -> Result<Task, Exit> {
    match Line::try_parse_from(words) {
        Ok(line) => Ok(line.task()),
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            // A closed terminal is no reason for another error.
            error.print().ok();
            Err(exit)
        }
    }
}

const EXIT_CODES: &str = "\
Exit codes:
   0  done; for status: an active node, in sync, everybody heard
   1  the command line is wrong
   2  the configuration or a certificate is wrong
   3  the agent does not answer
   4  there is no cluster yet
   5  status: solo, or a node is not heard, or a service is down
   6  status: no node is active
   7  a guard refuses; the reason is printed
   8  begun, and not ended in its time
   9  an identity exists twice, or the register went back
  10  a mistake of regent, or of the machine under it";

/// Keeps a management node available: one active, one virtual IP, no acknowledged write lost.
#[derive(Parser)]
#[command(name = "regent", version, after_help = EXIT_CODES, disable_help_subcommand = true)]
struct Line {
    #[command(subcommand)]
    word: Word,
}

#[derive(Subcommand)]
enum Word {
    /// Show where every node is
    Status {
        #[command(flatten)]
        way: Way,
    },
    /// Move the active role to another node, losing nothing
    Switchover {
        /// The node to move to; the eligible standby if left out
        #[arg(long, value_name = "NODE")]
        to: Option<String>,
        #[command(flatten)]
        way: Way,
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
        #[command(flatten)]
        way: Way,
    },
    /// Make the cluster: run once, on the node whose data shall be served
    Init {
        #[command(flatten)]
        way: Way,
    },
    /// Manage the voters of the register
    Voter {
        #[command(subcommand)]
        word: VoterWord,
    },
    /// Manage the configuration file
    Config {
        #[command(subcommand)]
        word: ConfigWord,
    },
    /// Manage the cluster's own certificate authority
    Ca {
        #[command(subcommand)]
        word: CaWord,
    },
    /// Run the agent of a node (started by systemd)
    Agent {
        #[command(flatten)]
        file: File,
    },
    /// Run the witness: a voter without resources (started by systemd)
    Witness {
        #[command(flatten)]
        file: File,
    },
    /// Manage the kernel's gate (started by systemd)
    Gate {
        #[command(subcommand)]
        word: GateWord,
    },
    #[command(hide = true)]
    DatabaseWorker,
}

#[derive(Subcommand)]
enum VoterWord {
    /// Admit the voter on NODE, which lost its disk: the only way back for it
    Admit {
        /// Whose voter
        #[arg(id = "voter", value_name = "NODE")]
        node: String,
        #[command(flatten)]
        way: Way,
    },
}

#[derive(Subcommand)]
enum ConfigWord {
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

#[derive(Subcommand)]
enum CaWord {
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

#[derive(Subcommand)]
enum GateWord {
    /// Load the kernel's table, closed, before the network is up
    Load {
        #[command(flatten)]
        file: File,
    },
}

const CONFIG: &str = "/etc/regent/regent.toml";

#[derive(Args)]
struct File {
    /// The configuration file
    #[arg(long, default_value = CONFIG, value_name = "FILE")]
    config: PathBuf,
}

#[derive(Args)]
struct Way {
    /// As JSON, versioned
    #[arg(long)]
    json: bool,
    /// Ask this node's agent, over mutual TLS, instead of the local one
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// The certificates to show to another node
    #[arg(long, default_value = "/etc/regent/tls", value_name = "DIR")]
    tls: PathBuf,
    /// The configuration file, for another node's address
    #[arg(long, default_value = CONFIG, value_name = "FILE")]
    config: PathBuf,
    /// The local agent's socket
    #[arg(long, default_value = "/run/regent/regent.sock", value_name = "PATH", hide = true)]
    socket: PathBuf,
}

impl Way {
    fn to(self, ask: Ask) -> Task {
        let Way { json, node, tls, config, socket } = self;
        Task::Ask(Question { ask, json, node, socket, config, tls })
    }
}

impl Line {
    fn task(self) -> Task {
        match self.word {
            Word::Status { way } => way.to(Ask::Status),
            Word::Switchover { to, way } => way.to(Ask::Switchover { to }),
            Word::Explain { way } => way.to(Ask::Explain),
            Word::History { last, way } => way.to(Ask::History { last }),
            Word::Init { way } => way.to(Ask::Init),
            Word::Voter { word: VoterWord::Admit { node, way } } => {
                way.to(Ask::AdmitVoter { node })
            }
            Word::Config { word: ConfigWord::Check { file, json } } => {
                Task::ConfigCheck { file, json }
            }
            Word::Ca { word: CaWord::Init { dir } } => Task::CaInit(dir),
            Word::Ca { word: CaWord::Issue { node, dir, out } } => {
                Task::CaIssue { node, authority: dir, out }
            }
            Word::Agent { file } => Task::Agent(file.config),
            Word::Witness { file } => Task::Witness(file.config),
            Word::Gate { word: GateWord::Load { file } } => Task::GateLoad(file.config),
            Word::DatabaseWorker => Task::DatabaseWorker,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(line: &str) -> Result<Task, Exit> {
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
        assert_eq!(question.ask, Ask::Switchover { to: Some("mn2".into()) });
        assert_eq!((question.json, question.node.as_deref()), (true, Some("mn1")));
        assert_eq!(question.socket, PathBuf::from("/run/regent/regent.sock"));
    }

    #[test]
    fn a_wrong_line_is_a_usage_error_and_help_is_none() {
        assert_eq!(task("regent switch-over"), Err(Exit::Usage));
        assert_eq!(task("regent ca issue mn1"), Err(Exit::Usage));
        assert_eq!(task("regent --help"), Err(Exit::Ok));
    }

    #[test]
    fn host_commands_are_handed_over() {
        assert_eq!(task("regent gate load"), Ok(Task::GateLoad(CONFIG.into())));
        assert_eq!(
            task("regent ca issue mn1 --dir a --out b"),
            Ok(Task::CaIssue { node: "mn1".into(), authority: "a".into(), out: "b".into() })
        );
        assert_eq!(task("regent database-worker"), Ok(Task::DatabaseWorker));
    }
}
