//! A stand-in for xCAT, for tests of its shared-data topology. It is not xCAT and shares no code with it: it has
//! the names, the places and the manners of the parts of xCAT that a move of the management node touches, each as
//! small as can be, and it is one program that does what the name says by which it was called.
//!
//! ```text
//! xcatd            answers on TCP 3001 (here: plain lines) and 3002, keeps its tables in the database, runs in.tftpd
//! tabdump, chtab, lsdef         clients of it, of this host or of $XCATHOST
//! makehosts        /etc/hosts from the table hosts
//! makedns [-n]     zones for BIND from /etc/hosts and the tables networks and site
//! makedhcp -n|-a|-q NODE        ISC dhcpd's configuration from networks, reservations from mac and hosts
//! makeconservercf  conserver's consoles from nodehm
//! makegocons       the same choice for goconserver, which is here a listener and nothing else
//! lsxcatd -d       which database it uses
//! install-product  what a package would do: programs, unit, tables, the credentials of root
//! ```
//!
//! The database is the one that `/etc/xcat/cfgloc` names: `mysql:...`, `Pg:...`, or without such a file SQLite,
//! one file a table in `/etc/xcat`.
//!
//! It is as unkind to whoever supervises its services as xCAT 2.19 is:
//!
//! - `makedns -n` stops named, writes, and starts it, whether it ran or not; `makedhcp -n` does so with dhcpd. Without
//!   a domain in the table site both exit with 1 and stop nothing.
//! - `makedhcp -n` gives clients the address of this host that faces their network, by the masks on the interfaces:
//!   an address with /32 faces nothing.
//! - conserver refuses to start while no node has a console. Nodes are defined through a running xcatd only.
//! - xcatd has `Restart=on-failure`, waits for its database, and its in.tftpd is a process of its own unit.
//! - `makeconservercf` and `makegocons` each refuse while the other's server runs, and enable their own for the next
//!   boot.
//! - The installer replaces `/root/.xcat`, and needs a database server that answers.

use std::process::ExitCode;

mod client;
mod console;
mod daemon;
mod dhcp;
mod dns;
mod install;
mod store;
mod tables;
mod tftp;

/// What went wrong, for whoever called.
type Result<T> = std::result::Result<T, String>;

fn main() -> ExitCode {
    let mut words = std::env::args();
    let called = words.next().unwrap_or_default();
    let name = called.rsplit('/').next().unwrap_or_default().to_owned();
    let words: Vec<String> = words.collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match dispatch(&name, &words) {
        Ok(text) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{name}: {why}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(name: &str, words: &[&str]) -> Result<String> {
    match (name, words) {
        ("xcatd", []) => daemon::run(),
        ("tabdump", [table]) => client::ask(&format!("tabdump {table}")),
        ("tabdump", []) => client::ask("tables"),
        ("chtab", [_, ..]) => client::ask(&format!("chtab {}", words.join(" "))),
        ("lsdef", ["-t", "site", "-i", key]) => client::ask(&format!("lsdef {key}")),
        ("makehosts", []) => dns::makehosts(),
        ("makedns", ["-n"]) => dns::anew(),
        ("makedns", []) => dns::update(),
        ("makedhcp", ["-n"]) => dhcp::networks(),
        ("makedhcp", ["-a"]) => dhcp::reservations(),
        ("makedhcp", ["-q", node]) => dhcp::query(node),
        ("makeconservercf", []) => console::make(),
        ("makegocons", []) => console::make_other(),
        ("goconserver", []) => console::listen(),
        ("lsxcatd", ["-d"]) => store::Store::open()?.describe(),
        ("install-product", words) => install::install(words),
        (name, words) => Err(format!("no such use: {name} {}", words.join(" "))),
    }
}

/// Prints, and does not mind a reader that has left.
fn say(text: &str) {
    use std::io::Write;
    let end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let _ = write!(std::io::stdout(), "{text}{end}");
}

/// Runs a program to its successful end and returns what it printed.
fn run(argv: &[&str]) -> Result<String> {
    let [program, words @ ..] = argv else { return Err("nothing to run".into()) };
    let output = std::process::Command::new(program).args(words).output();
    let output = output.map_err(|why| format!("{program}: {why}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("{program}: {}: {said}", output.status))
}

/// Writes a file; true if it was not so before.
fn write(path: &str, text: &str) -> Result<bool> {
    if std::fs::read_to_string(path).is_ok_and(|old| old == text) {
        return Ok(false);
    }
    std::fs::write(path, text).map_err(|why| format!("{path}: {why}"))?;
    Ok(true)
}

/// Stops a service, changes its files, and starts it, whether it ran before or not.
fn around(unit: &str, change: impl FnOnce() -> Result<String>) -> Result<String> {
    run(&["systemctl", "stop", unit])?;
    let told = change()?;
    run(&["systemctl", "start", unit])?;
    Ok(told)
}

/// A service that runs already does it again with what was written; one that does not is left alone.
fn renew(unit: &str, verb: &str) -> Result<()> {
    if run(&["systemctl", "is-active", "--quiet", unit]).is_ok() {
        run(&["systemctl", verb, unit])?;
    }
    Ok(())
}
