//! What many lines have in common: whom a question goes to, and where files are.

use super::task::{Confirm, Question, Shown, Task};
use clap::Args;
use regent_api::call::Ask;
use std::path::PathBuf;

pub(super) const EXIT_CODES: &str = "\
Exit codes:
   0  done; for status: an active node, in sync, everybody heard
   1  the command line is wrong
   2  the configuration or a certificate is wrong
   3  the agent does not answer
   4  there is no cluster yet
   5  runs, but not all is well: status says what; activate: a step that is not vital failed
   6  status: no node is active
   7  a guard refuses; the reason is printed
   8  begun, and not ended in its time
   9  an identity exists twice, or the register went back
  10  a mistake of regent, or of the machine under it
  11  activate: somebody answers for the virtual IP
  12  activate: another node is active, or is being activated
  13  activate: another node may use the shared data: nobody said it is off, or its host answers
  14  activate: a check of this host or of the shared data failed
  15  begun, a step failed, and everything is as it was
  16  a step failed, and not everything is undone, or down
  17  no majority of voters answers";

pub(super) const CONFIG: &str = "/etc/regent/regent.toml";
pub(super) const TLS: &str = "/etc/regent/tls";
pub(super) const SOCKET: &str = "/run/regent/regent.sock";

#[derive(Args)]
pub(super) struct File {
    /// The configuration file
    #[arg(long, default_value = CONFIG, value_name = "FILE")]
    pub(super) config: PathBuf,
}

#[derive(Args)]
pub(super) struct Way {
    /// As JSON, versioned
    #[arg(long)]
    pub(super) json: bool,
    /// Ask this node's agent, over mutual TLS, instead of the local one
    #[arg(long, value_name = "NAME")]
    pub(super) node: Option<String>,
    /// The certificates to show to another node
    #[arg(long, default_value = TLS, value_name = "DIR")]
    pub(super) tls: PathBuf,
    /// The configuration file, for another node's address
    #[arg(long, default_value = CONFIG, value_name = "FILE")]
    pub(super) config: PathBuf,
    /// The local agent's socket
    #[arg(long, default_value = SOCKET, value_name = "PATH", hide = true)]
    pub(super) socket: PathBuf,
}

impl Way {
    pub(super) fn question(self, ask: Ask) -> Question {
        let Way { json, node, tls, config, socket } = self;
        let (shown, confirm) = (Shown::default(), Confirm::No);
        Question { ask, json, shown, confirm, node, socket, config, tls }
    }

    pub(super) fn to(self, ask: Ask) -> Task {
        Task::Ask(Box::new(self.question(ask)))
    }

    pub(super) fn showing(self, ask: Ask, shown: Shown) -> Task {
        Task::Ask(Box::new(Question { shown, ..self.question(ask) }))
    }

    pub(super) fn setting(self, key: String, value: Option<String>, yes: bool) -> Task {
        let ask = |apply| Ask::ConfigSet { key: key.clone(), value: value.clone(), apply };
        let text = "do so on every member".to_string();
        let preview = Confirm::Preview(Box::new(ask(false)), text);
        self.confirming(ask(true), if yes { Confirm::No } else { preview })
    }

    /// It is the standby itself that takes the copy: so that one is asked.
    pub(super) fn resync(mut self, node: String, in_place: bool, yes: bool) -> Task {
        let kept = match in_place {
            true => "removed before the copy comes, if there is no room for both",
            false => "kept beside the copy",
        };
        let text = format!(
            "The data of {node} are replaced by a copy of the active node's; they are {kept}. Until it is in sync \
             again no other node can take over."
        );
        let confirm = Confirm::Typed { text, name: node.clone() };
        self.node.get_or_insert_with(|| node.clone());
        self.confirming(Ask::Resync { node, in_place }, if yes { Confirm::No } else { confirm })
    }

    pub(super) fn confirming(self, ask: Ask, confirm: Confirm) -> Task {
        Task::Ask(Box::new(Question { confirm, ..self.question(ask) }))
    }
}
