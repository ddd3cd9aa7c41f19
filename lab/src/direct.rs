//! The prober of one node's own database, in a process of its own inside that node's network:
//! whatever the VIP does, could this copy acknowledge a write? It signs in with an ordinary
//! account, which read-only binds. A probe that waits is left waiting, never killed; while too
//! many wait no more are sent.

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use tokio::io::AsyncReadExt;
use tokio::time::{MissedTickBehavior, interval};

use crate::record::{Seen, Writer, emit};
use crate::run::now_us;
use crate::wire::{Fault, Session};

const EVERY: Duration = Duration::from_millis(20);
/// Waiting probes; each may hold a connection for as long as the node is cut off.
const WAITING_MAX: usize = 8;

/// Runs until standard input ends. The process was started inside the node's network namespace.
pub fn main(node: String, address: Ipv4Addr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    runtime.block_on(local.run_until(async move {
        let probing = tokio::task::spawn_local(probe(node, SocketAddrV4::new(address, 3306)));
        let mut rest = Vec::new();
        tokio::io::stdin().read_to_end(&mut rest).await?;
        probing.abort();
        Ok(())
    }))
}

async fn probe(node: String, address: SocketAddrV4) {
    let idle: Rc<RefCell<Vec<Session>>> = Rc::default();
    let waiting = Rc::new(());
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut id = now_us();
    loop {
        tick.tick().await;
        id = now_us().max(id + 1);
        if Rc::strong_count(&waiting) > WAITING_MAX {
            continue;
        }
        let (idle, node, held) = (Rc::clone(&idle), node.clone(), Rc::clone(&waiting));
        tokio::task::spawn_local(async move {
            one(node, address, id, &idle).await;
            drop(held);
        });
    }
}

async fn one(node: String, address: SocketAddrV4, id: u64, idle: &RefCell<Vec<Session>>) {
    let sent = now_us();
    let statement = format!("INSERT INTO probe.rows (id, node) VALUES ({id}, '{node}')");
    let held = idle.borrow_mut().pop();
    let result = async {
        let mut session = match held {
            Some(session) => session,
            None => Session::open(address, "probe").await?,
        };
        let answer = session.execute(&statement).await;
        if !matches!(answer, Err(Fault::Broken(_))) {
            idle.borrow_mut().push(session);
        }
        answer
    };
    let result = result.await;
    let error = match &result {
        Ok(()) => None,
        Err(Fault::Refused(code, why)) => Some(format!("{code} {why}")),
        Err(Fault::Broken(why)) => Some(why.clone()),
    };
    emit(&Seen::Write {
        by: Writer::Direct(node),
        id,
        sent,
        done: now_us(),
        ok: result.is_ok(),
        error,
    });
}
