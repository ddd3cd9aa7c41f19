//! A bank behind the VIP: several connections that move money between accounts, each move a transaction over three
//! rows, and each that was acknowledged a line on standard output. What the bank's books must add up to is asked of
//! each copy by [`audit`].

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::time::{sleep, timeout};

use crate::client::within;
use crate::host::Host;
use crate::record::{Seen, Writer, emit};
use crate::run::now_us;
use crate::wire::{Fault, Session};

/// Money is moved by so many at once.
const CLERKS: u64 = 6;
const ACCOUNTS: u64 = 50;
const BALANCE: u64 = 1_000;
/// Between two moves of one clerk.
const PAUSE: Duration = Duration::from_millis(40);
/// After one that failed.
const AGAIN: Duration = Duration::from_millis(20);
/// No statement of a product waits for ever.
const LIMIT: Duration = Duration::from_secs(2);
/// Keys of one clerk are apart from those of the next.
const KEYS: u64 = 1_000_000_000;
const DATABASE: u16 = 3306;

/// The books, opened by the active node.
pub fn open(host: &Host) -> Result<()> {
    let text = format!(
        "CREATE DATABASE bank; USE bank; \
         CREATE TABLE bank.accounts (id INT PRIMARY KEY, balance BIGINT NOT NULL); \
         CREATE TABLE bank.moves (id BIGINT UNSIGNED PRIMARY KEY, source INT NOT NULL, \
             target INT NOT NULL, amount BIGINT NOT NULL); \
         INSERT INTO bank.accounts SELECT seq, {BALANCE} FROM seq_1_to_{ACCOUNTS}; \
         GRANT SELECT, INSERT, UPDATE ON bank.* TO app@'%'"
    );
    host.sql(&text).map(drop)
}

/// On this copy no money was made or lost, and every account is what its moves make of it: in one statement, so that
/// it is one moment of the data.
pub fn audit(host: &Host) -> Result<()> {
    let text = format!(
        "SELECT COUNT(*), SUM(a.balance), \
             SUM(a.balance <> {BALANCE} - IFNULL(o.total, 0) + IFNULL(i.total, 0)) \
         FROM bank.accounts a \
         LEFT JOIN (SELECT source, SUM(amount) AS total FROM bank.moves GROUP BY source) o ON o.source = a.id \
         LEFT JOIN (SELECT target, SUM(amount) AS total FROM bank.moves GROUP BY target) i ON i.target = a.id"
    );
    let said = host.sql(&text)?;
    let expected = format!("{ACCOUNTS}\t{}\t0", ACCOUNTS * BALANCE);
    let found = said.lines().last().unwrap_or_default().trim();
    ensure!(found == expected, "the books of {}: {found:?}, not {expected:?}", host.spec.name);
    Ok(())
}

/// Runs until standard input ends.
pub fn main(vip: Ipv4Addr) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    runtime.block_on(local.run_until(async move {
        for clerk in 1..=CLERKS {
            tokio::task::spawn_local(work(vip, clerk));
        }
        let mut end = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut tokio::io::stdin(), &mut end)
            .await
            .context("standard input")?;
        Ok(())
    }))
}

async fn work(vip: Ipv4Addr, clerk: u64) {
    let mut held = None;
    let mut random = fastrand::Rng::with_seed(clerk);
    for n in 1.. {
        let id = clerk * KEYS + n;
        let sent = now_us();
        let ended = timeout(LIMIT * 6, move_money(vip, &mut held, id, &mut random)).await;
        let error = match ended {
            Ok(Ok(())) => None,
            Ok(Err(fault)) => Some(format!("{fault:?}")),
            Err(_) => Some("timed out".into()),
        };
        if error.is_some() {
            held = None;
        }
        let (ok, pause) = if error.is_none() { (true, PAUSE) } else { (false, AGAIN) };
        emit(&Seen::Write { by: Writer::Bank, id, sent, done: now_us(), ok, error });
        sleep(pause).await;
    }
}

/// One move. The lower account comes first, so that two clerks rarely wait for each other.
async fn move_money(
    vip: Ipv4Addr,
    held: &mut Option<Session>,
    id: u64,
    random: &mut fastrand::Rng,
) -> Result<(), Fault> {
    let source = random.u64(1..=ACCOUNTS);
    let target = (source + random.u64(1..ACCOUNTS) - 1) % ACCOUNTS + 1;
    let amount = random.u64(1..10);
    let mut session = match held.take() {
        Some(session) => session,
        None => {
            let open = Session::open(SocketAddrV4::new(vip, DATABASE), "app");
            within(LIMIT, "connect", open).await?
        }
    };
    let change = |account: u64, sign: char| {
        format!("UPDATE bank.accounts SET balance = balance {sign} {amount} WHERE id = {account}")
    };
    let mut changes = [(source, '-'), (target, '+')];
    changes.sort_unstable();
    let statements = [
        "START TRANSACTION".to_owned(),
        change(changes[0].0, changes[0].1),
        change(changes[1].0, changes[1].1),
        format!("INSERT INTO bank.moves VALUES ({id}, {source}, {target}, {amount})"),
        "COMMIT".to_owned(),
    ];
    for statement in &statements {
        within(LIMIT, "statement", session.execute(statement)).await?;
    }
    *held = Some(session);
    Ok(())
}
