//! The clients of the VIP, in a process of their own inside the client's namespace: a writer, an
//! impatient prober of the service under fault, and a person who looks at the pages. Each thing
//! that ended is one JSON line on standard output; standard input says what to probe, and its end
//! is the end.

use std::cell::RefCell;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::rc::Rc;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::run::now_us;
use crate::seen::{Attempt, Seen, Writer, emit};
use crate::wire::{Fault, Session};

/// 100 rows a second.
const WRITE_EVERY: Duration = Duration::from_millis(10);
/// Connect and statement time-out of the writer, as in the published baselines.
const WRITE_LIMIT: Duration = Duration::from_millis(300);
/// Attempts at the service under fault.
const ATTEMPT_EVERY: Duration = Duration::from_millis(5);
const ATTEMPT_LIMIT: Duration = Duration::from_millis(100);
/// How often a person looks, and how long a page may take.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const LOOK_LIMIT: Duration = Duration::from_secs(1);
/// Idle sessions the prober keeps; what is beyond was opened during an outage.
const IDLE_MAX: usize = 8;
/// An answer that matters fits into this.
const PAGE_MAX: usize = 4096;

const MANAGEMENT: u16 = 8080;
const UI: u16 = 80;
const DATABASE: u16 = 3306;

/// Runs until standard input ends.
pub fn main(vip: Ipv4Addr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    runtime.block_on(local.run_until(async move {
        let attempt = Rc::new(RefCell::new(Attempt::Write));
        let tasks = [
            tokio::task::spawn_local(write(vip)),
            tokio::task::spawn_local(probe(vip, Rc::clone(&attempt))),
            tokio::task::spawn_local(look(vip)),
        ];
        let mut lines = BufReader::new(tokio::io::stdin()).lines();
        while let Some(line) = lines.next_line().await? {
            match line.as_str() {
                "write" => *attempt.borrow_mut() = Attempt::Write,
                "http" => *attempt.borrow_mut() = Attempt::Http,
                other => anyhow::bail!("{other}: neither write nor http"),
            }
        }
        tasks.iter().for_each(tokio::task::JoinHandle::abort);
        Ok(())
    }))
}

/// One row after the other on one session; a new session after any failure.
async fn write(vip: Ipv4Addr) {
    let mut session = None;
    let mut tick = every(WRITE_EVERY);
    let mut id = now_us();
    loop {
        tick.tick().await;
        id = now_us().max(id + 1);
        let sent = now_us();
        let statement = format!("INSERT INTO app.rows (id) VALUES ({id})");
        let result = row(vip, &mut session, &statement).await;
        let error = result.as_ref().err().cloned();
        emit(&Seen::Write {
            by: Writer::Client,
            id,
            sent,
            done: now_us(),
            ok: result.is_ok(),
            error,
        });
    }
}

async fn row(vip: Ipv4Addr, held: &mut Option<Session>, statement: &str) -> Result<(), String> {
    let mut session = match held.take() {
        Some(session) => session,
        None => {
            let open = Session::open(SocketAddrV4::new(vip, DATABASE), "app");
            within(WRITE_LIMIT, "connect", open).await.map_err(|fault| text(&fault))?
        }
    };
    match within(WRITE_LIMIT, "statement", session.execute(statement)).await {
        Ok(()) => {
            *held = Some(session);
            Ok(())
        }
        Err(Fault::Refused(code, why)) => {
            *held = Some(session);
            Err(format!("{code} {why}"))
        }
        Err(Fault::Broken(why)) => Err(why),
    }
}

/// Starts an attempt every 5 ms, however many are under way.
async fn probe(vip: Ipv4Addr, attempt: Rc<RefCell<Attempt>>) {
    let idle: Rc<RefCell<Vec<Session>>> = Rc::default();
    let mut tick = every(ATTEMPT_EVERY);
    let mut id = now_us();
    loop {
        tick.tick().await;
        id = now_us().max(id + 1);
        let attempt = *attempt.borrow();
        match attempt {
            Attempt::Write => tokio::task::spawn_local(probe_write(vip, id, Rc::clone(&idle))),
            Attempt::Http => tokio::task::spawn_local(probe_http(vip)),
        };
    }
}

async fn probe_write(vip: Ipv4Addr, id: u64, idle: Rc<RefCell<Vec<Session>>>) {
    let sent = now_us();
    let held = idle.borrow_mut().pop();
    let statement = format!("INSERT INTO app.attempts (id) VALUES ({id})");
    let whole = async {
        let mut session = match held {
            Some(session) => session,
            None => Session::open(SocketAddrV4::new(vip, DATABASE), "app").await?,
        };
        session.execute(&statement).await?;
        Ok(session)
    };
    let result = within(ATTEMPT_LIMIT, "attempt", whole).await;
    let done = now_us();
    let error = result.as_ref().err().map(text);
    emit(&Seen::Write { by: Writer::Attempt, id, sent, done, ok: error.is_none(), error });
    if let Ok(session) = result
        && idle.borrow().len() < IDLE_MAX
    {
        idle.borrow_mut().push(session);
    }
}

async fn probe_http(vip: Ipv4Addr) {
    let sent = now_us();
    let result = http(vip, MANAGEMENT, "GET", "/health", "", ATTEMPT_LIMIT).await;
    let error = result.err().map(|fault| text(&fault));
    let what = "health".to_owned();
    emit(&Seen::Http { what, sent, done: now_us(), ok: error.is_none(), error });
}

/// What a person does: stores a job, looks at the jobs, looks at the page.
async fn look(vip: Ipv4Addr) {
    let mut tick = every(LOOK_EVERY);
    let calls = [
        ("job", MANAGEMENT, "POST", "/jobs", "{\"name\":\"inventory\"}"),
        ("jobs", MANAGEMENT, "GET", "/jobs", ""),
        ("ui", UI, "GET", "/", ""),
    ];
    for (what, port, method, path, body) in calls.iter().cycle() {
        tick.tick().await;
        let sent = now_us();
        let result = http(vip, *port, method, path, body, LOOK_LIMIT).await;
        let error = result.err().map(|fault| text(&fault));
        let what = (*what).to_owned();
        emit(&Seen::Http { what, sent, done: now_us(), ok: error.is_none(), error });
    }
}

/// One call; well if the answer is 200 or 201 within the limit.
pub(crate) async fn http(
    vip: Ipv4Addr,
    port: u16,
    method: &str,
    path: &str,
    body: &str,
    limit: Duration,
) -> Result<(), Fault> {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {vip}\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let whole = async {
        let mut stream = TcpStream::connect(SocketAddrV4::new(vip, port)).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        while answer.len() < PAGE_MAX && stream.read_buf(&mut answer).await? > 0 {}
        let first = answer.split(|byte| *byte == b'\r').next().unwrap_or(&[]);
        let first = String::from_utf8_lossy(first).into_owned();
        match first.split(' ').nth(1) {
            Some("200" | "201") => Ok(()),
            Some(_) | None => Err(Fault::Broken(format!("answer {first:?}"))),
        }
    };
    within(limit, "call", whole).await
}

/// Work that is broken off after its time.
pub(crate) async fn within<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<T, Fault> {
    match timeout(limit, work).await {
        Ok(result) => result,
        Err(_) => Err(Fault::Broken(format!("{what} timed out"))),
    }
}

fn text(fault: &Fault) -> String {
    match fault {
        Fault::Refused(code, why) => format!("{code} {why}"),
        Fault::Broken(why) => why.clone(),
    }
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut tick = interval(period);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick
}
