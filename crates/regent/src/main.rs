//! `regent`: one binary. What runs on a host goes to the agent's library, what asks an agent to the command line's.
#![forbid(unsafe_code)]

mod setup;

use regent_agent::{command, keepalived, xcat};
use regent_cli::args::Question;
use regent_cli::{Exit, Task, ask};

fn main() -> Exit {
    match regent_cli::parse() {
        Err(exit) => exit,
        Ok(Task::Ask(question)) => put(&question),
        Ok(Task::Xcat { question, given }) => {
            let (nic, vip, path) = (&given.nic, &given.vip, &given.path);
            let given = xcat::Given { nic, vip, mask: given.mask.as_deref(), path };
            match xcat::compare(&given, &question.config, &question.tls) {
                Ok(()) => put(&question),
                Err(refusal) => ask::refuse(&question, &refusal),
            }
        }
        Ok(Task::Agent(config)) => command::agent(&config),
        Ok(Task::Witness(config)) => command::witness(&config),
        Ok(Task::CaInit(dir)) => command::ca_init(&dir),
        Ok(Task::CaIssue { node, authority, out }) => command::ca_issue(&node, &authority, &out),
        Ok(Task::ConfigCheck { file, json }) => command::config_check(&file, json),
        Ok(Task::KeepalivedShow(config)) => command::keepalived(keepalived::Ask::Show, &config),
        Ok(Task::KeepalivedDiff(config)) => command::keepalived(keepalived::Ask::Diff, &config),
        Ok(Task::KeepalivedRepair(config)) => command::keepalived(keepalived::Ask::Repair, &config),
        Ok(Task::ConfigSchema) => command::config_schema(),
        Ok(Task::ConfigShow { file, effective }) => command::config_show(&file, effective),
        Ok(Task::SetUp(asked)) => setup::run(&asked),
        Ok(Task::GateLoad(config)) => command::gate_load(&config),
        Ok(Task::DatabaseWorker) => command::database_worker(),
        Ok(Task::Prober) => command::prober(),
    }
}

fn put(question: &Question) -> Exit {
    ask::put(question, setup::open)
}
