//! A small management service, as Regent's users have them: an HTTP API that stores its jobs in
//! MariaDB through the virtual IP. It runs on every node, all the time, under systemd; it does not
//! know whether its node is active. While the database is away it answers 503 and goes on.
//!
//! ```text
//! GET  /health   this process lives; no database access
//! GET  /jobs     the last jobs
//! POST /jobs     {"name": "..."}  stores one
//! ```

use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::TcpListener;

mod http;
mod jobs;

use jobs::Jobs;

const LISTEN: &str = "0.0.0.0:8080";
const DATABASE: &str = "MANAGEMENT_DATABASE_URL";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    match serve().await {
        Ok(never) => match never {},
        Err(why) => {
            eprintln!("management-service: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<std::convert::Infallible, String> {
    let url = std::env::var(DATABASE).map_err(|_| format!("{DATABASE} is not set"))?;
    let jobs = Arc::new(Jobs::new(&url, hostname()).map_err(|why| format!("{DATABASE}: {why}"))?);
    let listener = TcpListener::bind(LISTEN).await.map_err(|why| format!("{LISTEN}: {why}"))?;
    eprintln!("management-service: listens on {LISTEN}");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(http::answer(stream, Arc::clone(&jobs)));
            }
            Err(why) => eprintln!("management-service: accept: {why}"),
        }
    }
}

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}
