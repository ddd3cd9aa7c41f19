//! Are the key services of each node well, seen from the client's network at the node's own
//! address? In a process of its own; tells the first look and each change.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::AsyncReadExt;
use tokio::time::{sleep, timeout};

use crate::client::http;
use crate::run::now_us;
use crate::seen::{LOOK_LIMIT, Seen, emit};
use crate::service::Service;
use crate::wire::Session;

/// Between the end of one look and the next.
const EVERY: Duration = Duration::from_millis(20);

/// Runs until standard input ends. Each target is `NODE=ADDRESS`.
pub fn main(targets: &[String]) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    runtime.block_on(local.run_until(async move {
        for target in targets {
            let (node, address) = target.split_once('=').context("NODE=ADDRESS")?;
            let address: Ipv4Addr = address.parse()?;
            for service in Service::ALL {
                tokio::task::spawn_local(look(node.to_owned(), address, service));
            }
        }
        let mut rest = Vec::new();
        tokio::io::stdin().read_to_end(&mut rest).await?;
        Ok(())
    }))
}

async fn look(node: String, address: Ipv4Addr, service: Service) {
    let mut was = None;
    loop {
        let sent = now_us();
        let ok = is_well(address, service).await;
        if was != Some(ok) {
            was = Some(ok);
            let at = if ok { now_us() } else { sent };
            emit(&Seen::Well { node: node.clone(), service, at, ok });
        }
        sleep(EVERY).await;
    }
}

async fn is_well(address: Ipv4Addr, service: Service) -> bool {
    let port = service.port();
    match service {
        Service::Management => http(address, port, "GET", "/health", "", LOOK_LIMIT).await.is_ok(),
        Service::Ui => http(address, port, "GET", "/", "", LOOK_LIMIT).await.is_ok(),
        Service::Database => {
            let answered = async {
                let mut session =
                    Session::open(SocketAddrV4::new(address, port), "probe").await.ok()?;
                session.execute("DO 1").await.ok()
            };
            matches!(timeout(LOOK_LIMIT, answered).await, Ok(Some(())))
        }
    }
}
