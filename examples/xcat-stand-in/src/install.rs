//! `install-product [KEY=VALUE...]`: what the packages and `xcatconfig` do on a host. Run again it changes nothing
//! but, as the real ones do, the directory of root's credentials: a symbolic link there is replaced by a directory.
//! The server of the database must answer; its unit is started, which on a host that nobody else manages is enough.
//!
//! ```text
//! db=mysql|postgresql|sqlite   address=ADDRESS of the management node   interface=NAME   domain=NAME
//! only=programs   no data, as on a host whose data are elsewhere
//! empty=yes       as `xcatconfig` leaves it: no domain, no nodes, no consoles
//! ```

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;

use crate::store::{CFGLOC, DATABASE, Engine, Store};
use crate::{Result, run};

const PROGRAM: &str = "/usr/lib/xcat-stand-in/xcat-stand-in";
const PREFIX: &str = "/opt/xcat";
const UNIT: &str = "/etc/systemd/system/xcatd.service";
const MAKERS: &[&str] = &["makehosts", "makedns", "makedhcp", "makeconservercf", "makegocons"];
const NAMES: [(&str, &[&str]); 3] =
    [("sbin", &["xcatd", "tabdump", "chtab"]), ("sbin", MAKERS), ("bin", &["lsdef", "lsxcatd"])];
const UNIT_TEXT: &str = "[Unit]\nDescription=xCAT management service (stand-in for tests)\n\
    After=network.target\n\n[Service]\nType=notify\nExecStart=/opt/xcat/sbin/xcatd\n\
    Restart=on-failure\nRestartSec=5\n\n[Install]\nWantedBy=multi-user.target\n";
/// The other console server, which the package depends on: a site chooses one of the two.
const OTHER_CONSOLES: &str = "/usr/bin/goconserver";
const OTHER_UNIT: &str = "/etc/systemd/system/goconserver.service";
const OTHER_TEXT: &str = "[Unit]\nDescription=goconserver (stand-in for tests)\n\
    After=network.target\n\n[Service]\nExecStart=/usr/bin/goconserver\n\n\
    [Install]\nWantedBy=multi-user.target\n";
/// The nodes that a new management node knows.
const NODES: u8 = 3;

/// Installs.
pub fn install(words: &[&str]) -> Result<String> {
    let pairs = words.iter().filter_map(|word| word.split_once('='));
    let given: BTreeMap<&str, &str> = pairs.collect();
    let of = |key: &str, otherwise: &'static str| given.get(key).copied().unwrap_or(otherwise);
    programs()?;
    if of("only", "") == "programs" {
        return Ok("installed, without data\n".to_owned());
    }
    credentials()?;
    fs::create_dir_all("/etc/xcat").map_err(|why| format!("/etc/xcat: {why}"))?;
    for directory in ["/install", "/tftpboot"] {
        fs::create_dir_all(directory).map_err(|why| format!("{directory}: {why}"))?;
        let mark = format!("{directory}/README");
        if !fs::exists(&mark).unwrap_or(false) {
            fs::write(&mark, "stand-in\n").map_err(|why| format!("{mark}: {why}"))?;
        }
    }
    let engine = match of("db", "sqlite") {
        "mysql" | "mariadb" => Engine::Mysql,
        "postgresql" => Engine::Pg,
        "sqlite" => Engine::Sqlite,
        other => return Err(format!("db={other}: mysql, postgresql or sqlite")),
    };
    database(engine)?;
    let store = Store { engine };
    store.create()?;
    if store.rows("site")?.is_empty() {
        let (address, is_empty) = (of("address", "127.0.0.1"), of("empty", "no") == "yes");
        let domain = if is_empty { "" } else { of("domain", "lab.test") };
        seed(store, address, of("interface", "eth0"), domain)?;
        if !is_empty {
            nodes(store, address)?;
        }
    }
    Ok("installed\n".to_owned())
}

fn programs() -> Result<()> {
    for (directory, names) in NAMES {
        let directory = format!("{PREFIX}/{directory}");
        fs::create_dir_all(&directory).map_err(|why| format!("{directory}: {why}"))?;
        for name in names {
            link(&format!("{directory}/{name}"))?;
            link(&format!("/usr/local/sbin/{name}"))?;
        }
    }
    link(OTHER_CONSOLES)?;
    for (unit, text) in [(UNIT, UNIT_TEXT), (OTHER_UNIT, OTHER_TEXT)] {
        fs::write(unit, text).map_err(|why| format!("{unit}: {why}"))?;
    }
    run(&["systemctl", "daemon-reload"])?;
    // As a package does that knows nothing of high availability. goconserver stays disabled and stopped.
    run(&["systemctl", "enable", "--quiet", "xcatd.service"]).map(drop)
}

fn link(path: &str) -> Result<()> {
    let _ = fs::remove_file(path);
    symlink(PROGRAM, path).map_err(|why| format!("{path}: {why}"))
}

/// The real installer removes the directory, link or not, and makes a new one.
fn credentials() -> Result<()> {
    let path = format!("{}/.xcat", std::env::var("HOME").unwrap_or_else(|_| "/".to_owned()));
    let is_link = fs::symlink_metadata(&path).is_ok_and(|data| data.is_symlink());
    if is_link {
        fs::remove_file(&path).map_err(|why| format!("{path}: {why}"))?;
    }
    fs::create_dir_all(&path).map_err(|why| format!("{path}: {why}"))?;
    let credential = format!("{path}/client-cred.pem");
    if is_link || !fs::exists(&credential).unwrap_or(false) {
        let text = "stand-in credential of root\n";
        fs::write(&credential, text).map_err(|why| format!("{credential}: {why}"))?;
    }
    Ok(())
}

/// A database in the server, and the file that names it; SQLite has neither.
fn database(engine: Engine) -> Result<()> {
    let (unit, cfgloc) = match engine {
        Engine::Sqlite => return Ok(()),
        Engine::Mysql => ("mariadb.service", format!("mysql:dbname={DATABASE}|root|\n")),
        Engine::Pg => ("postgresql.service", format!("Pg:dbname={DATABASE}|postgres|\n")),
    };
    let is_known = fs::read_to_string(CFGLOC).is_ok_and(|old| old == cfgloc);
    if !is_known {
        run(&["systemctl", "start", unit])?;
    }
    // Where somebody else says which units run, that start did nothing, and succeeded.
    let asked = Store { engine }.ask_server();
    asked.map_err(|why| format!("the server of the database ({unit}) does not answer: {why}"))?;
    if is_known {
        return Ok(());
    }
    match engine {
        Engine::Mysql => {
            let statement = format!("CREATE DATABASE IF NOT EXISTS {DATABASE}");
            run(&["mariadb", "-e", &statement])?;
        }
        Engine::Pg => pg()?,
        Engine::Sqlite => {}
    }
    fs::write(CFGLOC, cfgloc).map_err(|why| format!("{CFGLOC}: {why}"))
}

fn pg() -> Result<()> {
    let listed = run(&["runuser", "-u", "postgres", "--", "psql", "-lqtA"])?;
    if listed.lines().any(|line| line.split('|').next() == Some(DATABASE)) {
        return Ok(());
    }
    run(&["runuser", "-u", "postgres", "--", "createdb", DATABASE]).map(drop)
}

/// What every management node knows: itself, as far as it was asked, and its own network. The servers of the network
/// are empty: it is the address that faces the clients.
fn seed(store: Store, address: &str, interface: &str, domain: &str) -> Result<()> {
    let site = [
        ("master", address),
        ("nameservers", address),
        ("dhcpinterfaces", interface),
        ("consoleservice", "conserver"),
    ];
    let domain = Some(("domain", domain)).filter(|(_, domain)| !domain.is_empty());
    let site = site.iter().chain(&domain);
    let site: Vec<Vec<&str>> = site.map(|(key, value)| vec![*key, *value]).collect();
    store.fill("site", &["key", "value"], &site)?;
    let net = net_of(address);
    let (first, range) = (format!("{net}.0"), format!("{net}.150-{net}.160"));
    store.fill(
        "networks",
        &["netname", "net", "mask", "dynamicrange"],
        &[vec!["lab", &first, "255.255.255.0", &range]],
    )?;
    store.put("passwd", "system", &[("username", "root"), ("password", "cluster")])
}

/// The first three numbers of an address.
fn net_of(address: &str) -> &str {
    address.rsplit_once('.').map_or(address, |(net, _)| net)
}

/// Nodes with addresses, hardware addresses and consoles, as an administrator would have defined them.
fn nodes(store: Store, address: &str) -> Result<()> {
    let net = net_of(address);
    for (table, columns) in [
        ("nodelist", ["node", "groups", "status"]),
        ("hosts", ["node", "ip", "hostnames"]),
        ("mac", ["node", "mac", "interface"]),
        ("nodehm", ["node", "mgt", "cons"]),
    ] {
        let row = |number: u8| match table {
            "nodelist" => ["compute,all".to_owned(), "booted".to_owned()],
            "hosts" => [format!("{net}.{}", 50 + number), String::new()],
            "mac" => [format!("52:54:00:00:01:{number:02x}"), "eth0".to_owned()],
            _ => ["ipmi".to_owned(), "ipmi".to_owned()],
        };
        let rows: Vec<(String, [String; 2])> =
            (1..=NODES).map(|number| (format!("node{number:02}"), row(number))).collect();
        let rows: Vec<Vec<&str>> =
            rows.iter().map(|(node, [a, b])| vec![node.as_str(), a, b]).collect();
        store.fill(table, &columns, &rows)?;
    }
    Ok(())
}
