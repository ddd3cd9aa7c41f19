//! The subcommands that run on a host, each from its arguments to its exit code.

use crate::agent::{Ending, Life, LifeError, live};
use crate::config;
use crate::host::Host;
use crate::host::real::RealHost;
use crate::place::Place;
use crate::tls::{self, Identity};
use crate::transport::Pace;
use crate::{ca, log, process};
use regent_adapters::fence::Fence;
use regent_api::call::Result as ApiResult;
use regent_api::exit::Exit;
use regent_config::Settings;
use regent_config::settings::Driver;
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The database worker's and the prober's place among ordinary threads.
const WORKER_NICE: i32 = -10;

/// `regent agent`.
pub fn agent(config: &Path) -> Exit {
    run(config, |settings, identity, place| {
        let me = settings.member(&identity.name)?;
        Some(Arc::new(RealHost::new(settings, me, place)) as Arc<dyn Host>)
    })
}

/// `regent witness`.
pub fn witness(config: &Path) -> Exit {
    run(config, |_, _, _| None)
}

fn run(
    config: &Path,
    host: impl FnOnce(&Settings, &Identity, &Place) -> Option<Arc<dyn Host>>,
) -> Exit {
    abort_on_panic();
    process::take_name();
    let config::Loaded { settings, digest, .. } = match config::read(config) {
        Ok(loaded) => loaded,
        Err(problems) => return fail_slowly(Exit::Configuration, &problems.to_string()),
    };
    let place = Place::default();
    let known = settings.members.iter().map(|m| m.name.as_str());
    let identity = match tls::load(&place.tls, known) {
        Ok(identity) => identity,
        Err(error) => {
            let text = format!("{error}\n  what to do: {}", error.remedy());
            return fail_slowly(Exit::Configuration, &text);
        }
    };
    if let Err(error) = process::show(&identity.name) {
        log::warning(&format!("failed to show the node's name in ps, going on without: {error}"));
    }
    let host = host(&settings, &identity, &place);
    let (stopper, stop) = watch::channel(false);
    if let Err(error) = stop_on_signals(stopper) {
        return fail(Exit::Internal, &format!("failed to wait for signals: {error}"));
    }
    let pace = Pace::default();
    let configuration = digest;
    let life = Life {
        settings,
        file: config.into(),
        configuration,
        identity,
        place,
        host,
        stop,
        pace,
        owns_process: true,
    };
    match live(life) {
        Ok(Ending::Stop) => {
            log::settle();
            Exit::Ok
        }
        Ok(Ending::Again) => again(),
        Err(error @ (LifeError::Nobody(_) | LifeError::Wrong { .. })) => {
            fail_slowly(Exit::Configuration, &error.to_string())
        }
        Err(
            error @ (LifeError::File(..)
            | LifeError::Record(_)
            | LifeError::Gate(_)
            | LifeError::Machine(_)),
        ) => fail_slowly(Exit::Internal, &error.to_string()),
    }
}

/// systemd starts the agent again at once, which is right after a death and a hot loop after a mistake.
fn fail_slowly(exit: Exit, text: &str) -> Exit {
    let exit = fail(exit, text);
    std::thread::sleep(Duration::from_millis(500));
    exit
}

/// The same process, with the same arguments, from the beginning: systemd sees no restart.
fn again() -> Exit {
    reap();
    log::settle();
    let error = process::own_binary().args(std::env::args_os().skip(1)).exec();
    fail(Exit::Internal, &format!("failed to begin again: {error}"))
}

/// The children of this life were killed with its runtime; the next life must not find them as its own.
fn reap() {
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(500) {
        match rustix::process::wait(rustix::process::WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => std::thread::sleep(Duration::from_millis(2)),
            Err(_) => return,
        }
    }
}

/// A half-dead agent is worse than a dead one: the kernel closes the gate, and systemd starts anew.
fn abort_on_panic() {
    std::panic::set_hook(Box::new(move |panic| {
        let end = "a mistake of regent ends this agent; the gate closes with its ticket";
        log::alarm(&format!("{end}: {panic}"));
        log::settle();
        std::process::abort();
    }));
}

/// A thread of its own waits: SIGTERM or SIGINT ends the agent and closes nothing. On the active node the right then
/// ends by itself, or the next run finds it still running (C6).
fn stop_on_signals(stopper: watch::Sender<bool>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let thread = std::thread::Builder::new().name("signals".into());
    thread.spawn(move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let Ok(mut terminate) = signal(SignalKind::terminate()) else { return };
            let Ok(mut interrupt) = signal(SignalKind::interrupt()) else { return };
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            stopper.send(true).ok();
            // Nobody may be waiting for it any more; then only the process is left.
            std::future::pending::<()>().await;
        });
    })?;
    Ok(())
}

/// `regent ca init`.
pub fn ca_init(dir: &Path) -> Exit {
    ended(
        ca::init(dir),
        &format!("the authority is in {}; keep its key off the nodes", dir.display()),
    )
}

/// `regent ca issue`.
pub fn ca_issue(node: &str, authority: &Path, out: &Path) -> Exit {
    let text = format!("the certificate of {node} is in {}", out.display());
    ended(ca::issue(node, authority, out), &text)
}

fn ended(result: Result<(), ca::CaError>, text: &str) -> Exit {
    match result {
        Ok(()) => {
            say(&format!("{text}\n"));
            Exit::Ok
        }
        Err(error) => {
            fail(Exit::Configuration, &format!("{error}\n  what to do: {}", error.remedy()))
        }
    }
}

/// `regent config check`.
pub fn config_check(file: &Path, json: bool) -> Exit {
    let (exit, text) = match config::load(file) {
        Ok(settings) => (Exit::Ok, settings.summary() + &lacking(&settings)),
        Err(problems) => (Exit::Configuration, problems.to_string()),
    };
    if json {
        let result = ApiResult {
            version: regent_api::VERSION,
            result: if exit == Exit::Ok { "done" } else { "configuration" }.into(),
            text,
            remedy: None,
            exit: exit.number(),
        };
        say(&(serde_json::to_string(&result).unwrap_or_default() + "\n"));
        return exit;
    }
    if exit == Exit::Ok {
        say(&text);
        return exit;
    }
    fail(exit, text.trim_end())
}

/// What the host lacks of what a valid configuration asks for; on another host than a node, it may well be.
fn lacking(settings: &Settings) -> String {
    let mut text = String::new();
    if let Driver::Keepalived(_) = settings.driver
        && let Err(error) = regent_adapters::keepalived::check()
    {
        text += &format!("warning: {error}\n");
    }
    let fences = settings.members.iter().filter_map(|m| m.fence.clone());
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return text;
    };
    for fence in fences.map(Fence::from) {
        if let Err(error) = runtime.block_on(fence.check()) {
            text += &format!("warning: the fence of {}: {error}\n", fence.node());
        }
    }
    text
}

/// `regent config schema`.
pub fn config_schema() -> Exit {
    say(&regent_config::schema::schema());
    Exit::Ok
}

/// `regent config show`, where no agent can be asked: what the file says, or all that is in force by it.
pub fn config_show(file: &Path, all: bool) -> Exit {
    match config::shown(file, all, None) {
        Ok(table) => {
            say(&table);
            Exit::Ok
        }
        Err(problems) => fail(Exit::Configuration, problems.to_string().trim_end()),
    }
}

/// `regent gate load`.
pub fn gate_load(config: &Path) -> Exit {
    let settings = match config::load(config) {
        Ok(settings) => settings,
        Err(problems) => return fail(Exit::Configuration, &problems.to_string()),
    };
    let known = settings.members.iter().map(|m| m.name.as_str());
    let me = match tls::load(&Place::default().tls, known) {
        Ok(identity) => settings.member(&identity.name),
        Err(error) => {
            // Without an identity no agent runs here; the gate must be closed all the same.
            log::warning(&format!("{error}\n  what to do: {}", error.remedy()));
            None
        }
    };
    let interface = me.or(settings.members.first()).map(|m| m.interface.clone());
    let interface = interface.unwrap_or_default();
    let addresses: Vec<std::net::IpAddr> = settings.vips.iter().map(|v| v.address).collect();
    match regent_adapters::gate::load(&addresses, &interface) {
        Ok(loaded) => {
            log::info(&format!(
                "the gate in front of {} is loaded: {loaded:?}",
                settings.vip_text()
            ));
            log::settle();
            Exit::Ok
        }
        Err(error) => fail(Exit::Internal, &format!("failed to load the gate: {error}")),
    }
}

/// `regent prober`.
pub fn prober() -> Exit {
    process::take_name();
    // A hang is judged by the clock: what delays the prober must not look like one. Refused, it goes on without.
    rustix::process::setpriority_process(None, WORKER_NICE).ok();
    match regent_adapters::probe::worker::main() {
        Ok(()) => Exit::Ok,
        Err(error) => fail(Exit::Internal, &format!("failed to go on: {error}")),
    }
}

/// `regent database-worker`.
pub fn database_worker() -> Exit {
    process::take_name();
    // A takeover waits for its statements: before ordinary threads, behind the links. Refused, it goes on without.
    rustix::process::setpriority_process(None, WORKER_NICE).ok();
    match regent_adapters::database::worker::main() {
        Ok(()) => Exit::Ok,
        Err(error) => fail(Exit::Internal, &format!("failed to go on: {error}")),
    }
}

/// `regent keepalived show|diff|repair`.
pub fn keepalived(ask: crate::keepalived::Ask, config: &Path) -> Exit {
    let (exit, text) = crate::keepalived::answer(ask, config);
    if !matches!(exit, Exit::Ok | Exit::Degraded) {
        return fail(exit, text.trim_end());
    }
    say(&text);
    exit
}

fn say(text: &str) {
    // A reader that went away is no error.
    std::io::stdout().write_all(text.as_bytes()).ok();
}

fn fail(exit: Exit, text: &str) -> Exit {
    log::settle();
    std::io::stderr().write_all(format!("error: {text}\n").as_bytes()).ok();
    exit
}
