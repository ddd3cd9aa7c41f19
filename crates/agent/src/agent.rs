//! One life of an agent: from the durable record to the end of the process, or to the next life.
//!
//! ```text
//!   record vacant ──► waiting: listens, answers init and admission, says so in status
//!                        │ the record is seated
//!                        ▼
//!   record seated ──► serving: the lease thread with core, the register, the host
//! ```
//! The change from one to the other is a new life ([`Ending::Again`]): the process executes itself, so that
//! nothing of an agent without a cluster lingers in one that has one.

mod admission;
mod answering;
mod common;
mod configured;
mod configuring;
mod coreless_api;
mod life;
mod node_api;
mod operating;
mod picture;
mod renewing;
mod serving;
mod stacking;
mod timeline;
mod waiting;
mod watches;

pub use life::{Ending, Life, LifeError};

use crate::{log, random, renew};
use life::Born;
use regent_adapters::clock;
use regent_config::settings::Member;
use regent_core::id::{ClusterId, RunId};
use regent_store::cell::Standing;
use regent_store::embedded::{Kept, OpenError, RecordFile};
use serving::serve_as_node;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use waiting::wait_or_witness;

/// Two for everything that may take its time: one may be in a slow system call.
const WORKERS: usize = 2;

/// One for the links and their messages: they need microseconds each.
const LINKS: usize = 1;

/// What the tasks of either need; all of it is locked in memory.
const STACK: usize = 512 << 10;

/// How the links, the register and whoever changes the address are placed among ordinary threads, so that load
/// delays no renewal. Children and copies of the database keep the ordinary place.
const NICE: i32 = -15;

/// How long the record may be locked by the agent before this one, which systemd has just killed.
const LOCKED: Duration = Duration::from_secs(2);

/// Lives until stopped.
pub fn live(life: Life) -> Result<Ending, LifeError> {
    let name = life.identity.name.clone();
    let me = life.settings.member(&name).ok_or(LifeError::Nobody(name))?.clone();
    expect_right_command(&me, life.host.is_some())?;
    for dir in [&life.place.state, &life.place.run] {
        std::fs::create_dir_all(dir).map_err(|e| LifeError::File(dir.clone(), e))?;
    }
    if life.owns_process
        && let Err(error) = clock::lock_memory()
    {
        log::warning(&format!("failed to lock memory, going on without: {error}"));
    }
    let mut kept = read_record(&life.place.record())?;
    let turned =
        renew::carry_out(&life.place).map_err(|e| LifeError::File(life.place.turn(), e))?;
    if turned.is_some() {
        kept = read_record(&life.place.record())?;
    }
    let born = Born {
        boot: clock::boot_id()?,
        run: RunId(random::draw_half()?),
        seed: random::draw_half()?,
        offer: random::draw_half()?,
        turned,
        last: match &kept.standing {
            Standing::Seated(record) => Some(Arc::new(record.value.clone())),
            Standing::Newcomer { .. } | Standing::Vacant => None,
        },
    };
    let runtime = runtime("tasks", WORKERS)?;
    // Threads inherit their place from the one that starts them: from here on, all that a renewal needs.
    let place = rustix::process::getpriority_process(None).unwrap_or(0);
    if life.owns_process
        && let Err(error) = rustix::process::setpriority_process(None, NICE.min(place))
    {
        log::warning(&format!("failed to go before ordinary threads, going on without: {error}"));
    }
    let links = self::runtime("links", LINKS)?;
    let ending = match (&kept.standing, &life.host) {
        (Standing::Seated(record), Some(host)) => {
            let cluster = ClusterId(record.cluster.0);
            let host = Arc::clone(host);
            runtime.block_on(serve_as_node(
                &life,
                &me,
                &born,
                cluster,
                kept.high,
                host,
                links.handle(),
            ))
        }
        (standing, _) => {
            let cluster = match standing {
                Standing::Seated(record) => Some(ClusterId(record.cluster.0)),
                Standing::Newcomer { .. } | Standing::Vacant => None,
            };
            runtime.block_on(wait_or_witness(&life, &me, &born, cluster, links.handle()))
        }
    };
    links.shutdown_background();
    runtime.shutdown_background();
    // The next life of this process begins where this one did; to go back is always allowed.
    rustix::process::setpriority_process(None, place).ok();
    ending
}

fn runtime(name: &str, threads: usize) -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(name)
        .thread_stack_size(STACK)
        .enable_all()
        .build()
}

fn expect_right_command(me: &Member, has_host: bool) -> Result<(), LifeError> {
    let name = me.name.clone();
    match (me.witness, has_host) {
        (true, false) | (false, true) => Ok(()),
        (true, true) => Err(LifeError::Wrong { name, is: "a witness", command: "witness" }),
        (false, false) => Err(LifeError::Wrong { name, is: "a node", command: "agent" }),
    }
}

/// What the record keeps; the lock that comes with it is the one that only one agent of this host can hold (C6).
fn read_record(path: &std::path::Path) -> Result<Kept, LifeError> {
    let began = Instant::now();
    loop {
        match RecordFile::open(path) {
            Ok((_, kept)) => return Ok(kept),
            Err(OpenError::InUse { .. }) if began.elapsed() < LOCKED => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error.into()),
        }
    }
}
