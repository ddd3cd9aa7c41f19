//! The stand-in for xCAT proves itself, without the product: by hand on one host with each of the three databases,
//! asked by real clients. What a move is judged by later must work where nothing moves. And it is shown to be as unkind
//! as xCAT is, or no other case would meet what a real management node does.

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::case::{Case, Run, Tier};
use crate::host::Host;
use crate::lab::{Lab, VIP, fresh_name};
use crate::run::{now_us, wait_for};
use crate::say;
use crate::shared::{self, Choice, said};
use crate::xcat::{self, CLIENT, DOMAIN, Db, Newcomer};

pub(super) const CASE: Case = Case {
    name: "xcat-stand-in",
    about: "xCAT's stand-in on one host, without Regent: three databases, names, leases, consoles; how unkind it is",
    tier: Tier::All,
    run: Run::Alone(run),
};

/// How an address stands before the host's own one: scope link, another prefix, no route.
const FIRST: &str = "23 scope link noprefixroute";
const ANSWER: Duration = Duration::from_secs(20);
/// dhcpd's own script takes seconds, and stops and starts it.
const COMMAND: Duration = Duration::from_secs(60);
/// The host's own address.
const OWN: &str = "10.77.0.11";
/// As the stand-in's installer seeds it.
const NODE: (&str, &str, &str) = ("node01", "10.77.0.51", "52:54:00:00:01:01");

fn run() -> Result<()> {
    let mut lab = shared::hosts(&fresh_name(), &Choice::by_hand(Db::Sqlite))?;
    lab.host_mut("mn1")?.start()?;
    lab.host_mut(CLIENT)?.boot()?;
    lab.host_mut("mn1")?.wait_booted()?;
    let result = unkind(&lab).and_then(|()| Db::ALL.into_iter().try_for_each(|db| one(&lab, db)));
    if result.is_err() && !crate::run::is_interrupted() {
        crate::diagnose::collect(&lab);
    }
    result
}

/// A management node by hand, its clients, and everything gone again.
fn one(lab: &Lab, db: Db) -> Result<()> {
    let (mn1, client) = (lab.host("mn1")?, lab.host(CLIENT)?);
    say::line(&format!("case    {} by hand on mn1", db.name()));
    put_vip(mn1, FIRST)?;
    install(mn1, db)?;
    let lines: &[&str] = &[
        "systemctl start xcatd",
        "makehosts; makedhcp -n; makedhcp -a",
        "makedns -n",
        "makeconservercf; systemctl start conserver-server",
    ];
    for line in lines {
        let from = now_us();
        mn1.shell(line)?;
        say::line(&format!("host    mn1: {line}: {} ms", (now_us() - from) / 1000));
    }
    ask(lab, client, db)?;
    let told = mn1.run(&["lsxcatd", "-d"])?;
    let engine = match db {
        Db::Mysql => "dbengine=mysql",
        Db::Postgresql => "dbengine=Pg",
        Db::Sqlite => "dbengine=SQLite",
    };
    ensure!(told.contains(engine), "lsxcatd -d: {told}");

    let before = xcat::dump(client)?;
    mn1.run(&["systemctl", "restart", "xcatd"])?;
    let after = wait_for("xcatd after its restart", ANSWER, || Ok(xcat::dump(client).ok()))?;
    ensure!(before == after, "a restart changed the tables:\n{before}\n{after}");
    wait_for_database(mn1, db)?;
    remove(mn1, db)
}

/// Everything is gone again.
fn remove(mn1: &Host, db: Db) -> Result<()> {
    mn1.shell(
        "systemctl stop goconserver conserver-server isc-dhcp-server named xcatd; \
         rm -rf /etc/xcat /opt/xcat /var/lib/dhcp/dhcpd.leases /etc/dhcp/xcat-hosts.conf; \
         sed -i '/# xcat$/d' /etc/hosts",
    )?;
    db.units().iter().try_for_each(|unit| mn1.run(&["systemctl", "stop", unit]).map(drop))
}

/// xcatd that starts before its database waits for it; and a database that does not answer ends an installation.
fn wait_for_database(mn1: &Host, db: Db) -> Result<()> {
    let Some(unit) = db.unit() else { return Ok(()) };
    mn1.shell(&format!("systemctl stop xcatd {unit}; systemctl start --no-block xcatd"))?;
    let refused = exit_of(mn1, &format!("install-product db={}", db.name()))?;
    ensure!(refused.0 == 1 && refused.1.contains("does not answer"), "{refused:?}");
    let state = mn1.run(&["systemctl", "show", "-p", "ActiveState", "--value", "xcatd"])?;
    ensure!(state.trim() == "activating", "without its database xcatd is {state}");
    mn1.run(&["systemctl", "start", unit])?;
    wait_for("xcatd after its database", ANSWER, || {
        Ok((exit_of(mn1, "tabdump site")?.0 == 0).then_some(()))
    })?;
    say::line(&format!("result  {}: xcatd waited for its database", db.name()));
    Ok(())
}

/// What nobody would choose, and xCAT does: each on a host that has next to nothing at first.
fn unkind(lab: &Lab) -> Result<()> {
    let (mn1, client, db) = (lab.host("mn1")?, lab.host(CLIENT)?, Db::Sqlite);
    say::line("case    an empty xCAT by hand on mn1");
    put_vip(mn1, "32")?;
    mn1.shell(&format!(
        "install-product db=sqlite address={VIP} interface=host0 empty=yes; \
         systemctl start xcatd named; makehosts; makeconservercf"
    ))?;
    ensure!(!fs::exists(mn1.path("/etc/xcat/cfgloc")?)?, "cfgloc is there with SQLite");
    without_domain(mn1)?;
    mn1.shell(&format!("chtab key=domain site.value={DOMAIN}"))?;
    consoles(mn1, client)?;
    restarts_named(mn1)?;
    own_address(lab, mn1, client)?;
    unit_of_xcatd(mn1)?;
    other_consoles(mn1)?;
    remove(mn1, db)
}

/// Both commands end with an error, and stop nothing.
fn without_domain(mn1: &Host) -> Result<()> {
    let before = main_pid(mn1, "named")?;
    for line in ["makedns -n", "makedhcp -n"] {
        let ended = exit_of(mn1, line)?;
        ensure!(ended.0 == 1, "{line} without a domain ended with {ended:?}");
    }
    let after = main_pid(mn1, "named")?;
    ensure!(before == after && before != "0", "named was process {before}, and is {after}");
    Ok(())
}

/// conserver fails without a console; a console comes with a node, and a node through xcatd.
fn consoles(mn1: &Host, client: &Host) -> Result<()> {
    let ended = exit_of(mn1, "systemctl start conserver-server")?;
    let state =
        mn1.run(&["systemctl", "show", "-p", "ActiveState", "--value", "conserver-server"])?;
    say::line(&format!("result  conserver without a console: {}, start: {ended:?}", state.trim()));
    ensure!(state.trim() == "failed", "without a console conserver is {state}");
    mn1.shell(&format!(
        "chtab node={0} nodelist.groups=all hosts.ip={1} mac.mac={2} nodehm.mgt=ipmi nodehm.cons=ipmi; \
         makehosts; makeconservercf; systemctl start conserver-server",
        NODE.0, NODE.1, NODE.2
    ))?;
    let listed = wait_for("conserver", ANSWER, || Ok(xcat::consoles(client).ok()))?;
    ensure!(listed == [NODE.0], "consoles: {listed:?}");
    let enabled = exit_of(mn1, "systemctl is-enabled conserver-server; ls /etc/xcat/console.lock")?;
    ensure!(enabled.0 != 0 && enabled.1.starts_with("enabled\n"), "makeconservercf: {enabled:?}");
    Ok(())
}

/// `makedns -n` stops and starts named itself, also when it did not run.
fn restarts_named(mn1: &Host) -> Result<()> {
    let mut last = main_pid(mn1, "named")?;
    for line in ["makedns -n", "makedns -n", "systemctl stop named; makedns -n"] {
        mn1.shell(line)?;
        let main = main_pid(mn1, "named")?;
        ensure!(main != last && main != "0", "after {line} named is process {main}, was {last}");
        last = main;
    }
    mn1.run(&["makedns"])?;
    let main = main_pid(mn1, "named")?;
    ensure!(main == last, "makedns restarted named");
    Ok(())
}

/// Clients are given the first address whose mask has their network: the host's own, unless the VIP stands before it.
fn own_address(lab: &Lab, mn1: &Host, client: &Host) -> Result<()> {
    for (short, form, expected) in [("m1", "32", OWN), ("m2", "24", OWN), ("m3", FIRST, VIP)] {
        put_vip(mn1, form)?;
        mn1.shell("makedhcp -n; makedhcp -a")?;
        let written = mn1.run(&["cat", "/etc/dhcp/dhcpd.conf"])?;
        for what in ["next-server", "option domain-name-servers"] {
            let line = format!("{what} {expected};");
            ensure!(written.contains(&line), "VIP/{form}, no {line:?} in {written}");
        }
        let lease = Newcomer::plug_in(lab, short, NODE.2)?.ask(client)?;
        ensure!(lease.server == expected, "VIP/{form}: {lease:?}");
        lab.remove_newcomer(short)?;
        say::line(&format!("result  the VIP with /{form}: leases are given by {}", lease.server));
    }
    Ok(())
}

/// systemd restarts it, the kernel accepts for it while it is stopped, and its TFTP server is one of its processes and
/// ends with it.
fn unit_of_xcatd(mn1: &Host) -> Result<()> {
    let shown = mn1.shell("systemctl show -p Restart -p RestartUSec xcatd")?;
    ensure!(shown.contains("Restart=on-failure\n"), "{shown}");
    ensure!(shown.contains("RestartUSec=5s\n"), "{shown}");
    mn1.shell(
        "systemctl kill -s STOP xcatd; timeout 2 bash -c ': < /dev/tcp/127.0.0.1/3001'; \
         systemctl kill -s CONT xcatd",
    )?;
    let mut names: Vec<String> = Vec::new();
    for pid in mn1.unit_processes("xcatd.service")? {
        names.push(fs::read_to_string(format!("/proc/{pid}/comm"))?.trim().to_owned());
    }
    ensure!(names.iter().any(|name| name == "in.tftpd"), "xcatd's unit has {names:?}");
    let read = mn1.shell("cd /tmp; tftp 127.0.0.1 -c get README; cat README; rm README")?;
    ensure!(read == "stand-in\n", "TFTP gave {read:?}");
    mn1.shell(
        "systemctl stop xcatd; if pgrep -x in.tftpd; then exit 1; fi; systemctl start xcatd",
    )?;
    Ok(())
}

/// goconserver is there, and at rest until somebody chooses it.
fn other_consoles(mn1: &Host) -> Result<()> {
    let state = exit_of(mn1, "systemctl is-enabled goconserver; systemctl is-active goconserver")?;
    ensure!(state.1 == "disabled\ninactive\n", "goconserver is {state:?}");
    let refused = exit_of(mn1, "makegocons")?;
    ensure!(refused.0 == 1, "makegocons while conserver runs: {refused:?}");
    mn1.shell("systemctl stop conserver-server; makegocons")?;
    wait_for("goconserver", ANSWER, || {
        Ok(mn1.run(&["ss", "-Hlnt"])?.contains(":12430").then_some(()))
    })?;
    let refused = exit_of(mn1, "makeconservercf")?;
    ensure!(refused.0 == 1, "makeconservercf while goconserver runs: {refused:?}");
    let state = exit_of(mn1, "systemctl is-enabled goconserver conserver-server")?;
    ensure!(state.1 == "enabled\ndisabled\n", "a boot would start: {state:?}");
    Ok(())
}

/// The VIP in this form and no other.
fn put_vip(mn1: &Host, form: &str) -> Result<()> {
    mn1.shell(&format!(
        "for length in 23 24 32; do ip addr del {VIP}/$length dev host0 2>/dev/null || true; done; \
         ip addr add {VIP}/{form} dev host0"
    ))
    .map(drop)
}

/// How a line ended and what it printed.
fn exit_of(host: &Host, line: &str) -> Result<(i32, String)> {
    let output = host.enter(&["/bin/sh", "-c", line], COMMAND)?;
    Ok((output.status.code().unwrap_or(-1), said(&output)))
}

fn main_pid(host: &Host, unit: &str) -> Result<String> {
    let shown = host.run(&["systemctl", "show", "-p", "MainPID", "--value", unit])?;
    Ok(shown.trim().to_owned())
}

/// The installer twice: the second time nothing changes but the credentials.
fn install(mn1: &Host, db: Db) -> Result<()> {
    let line =
        format!("install-product db={} address={VIP} interface=host0 domain={DOMAIN}", db.name());
    mn1.shell(&line)?;
    mn1.shell(&format!(
        "rm -rf /root/.xcat; mkdir -p /tmp/cred; ln -s /tmp/cred /root/.xcat; {line}"
    ))?;
    let kind = mn1.run(&["stat", "-c", "%F", "/root/.xcat"])?;
    ensure!(kind.trim() == "directory", "the installer left a {kind} at /root/.xcat");
    Ok(())
}

/// Every client gets what it came for.
fn ask(lab: &Lab, client: &Host, db: Db) -> Result<()> {
    let site = wait_for("xcatd", ANSWER, || Ok(xcat::dump(client).ok()))?;
    ensure!(site.contains(&format!("\"{VIP}\"")), "site has no {VIP}: {site}");
    xcat::write_row(client, "noted", db.name())?;
    let noted = format!("\"noted\",\"{}\"", db.name());
    ensure!(xcat::dump(client)?.contains(&noted), "the row that was written is not there");
    let address = xcat::resolve(client, &format!("{}.{DOMAIN}", NODE.0))?;
    ensure!(address == NODE.1, "{} is {address:?} by DNS", NODE.0);
    let consoles = xcat::consoles(client)?;
    ensure!(consoles.len() == 3, "consoles: {consoles:?}");
    let short = ["d1", "d2", "d3"][Db::ALL.iter().position(|one| *one == db).unwrap_or(0)];
    let reserved = Newcomer::plug_in(lab, short, NODE.2)?;
    let lease = reserved.ask(client)?;
    ensure!(lease.address == NODE.1 && lease.server == VIP, "reserved {NODE:?}, got {lease:?}");
    let other = Newcomer::plug_in(lab, &format!("{short}x"), "52:54:00:00:02:01")?;
    let first = other.ask(client)?;
    let again = other.ask(client)?;
    ensure!(first == again, "another address at the second time: {first:?}, {again:?}");
    say::line(&format!("client  {} has {}, a stranger {}", NODE.0, lease.address, first.address));
    lab.remove_newcomer(short)?;
    lab.remove_newcomer(&format!("{short}x"))
}
