//! `makeconservercf` and `makegocons`: the consoles of all nodes that have one, for one of two servers. Each refuses
//! while the other server runs, and changes which of the two a boot starts. That is all that says which one a site
//! uses: `/etc/xcat/console.lock` is written by a script of moves that is not here.

use std::net::TcpListener;

use crate::store::Store;
use crate::{Result, renew, run, write};

const CONFIGURATION: &str = "/etc/conserver/conserver.cf";
const UNIT: &str = "conserver-server.service";
const OTHER_UNIT: &str = "goconserver.service";
const OTHER_PROGRAM: &str = "/usr/bin/goconserver";
/// Where goconserver is asked.
const OTHER: &str = "0.0.0.0:12430";
/// Conserver's word for the host that has a console.
const WHERE: &str = "master";

/// Writes the configuration; a running server reads it again. Conserver ends with an error without a console, which is
/// not this command's concern.
pub fn make() -> Result<String> {
    if is_active(OTHER_UNIT) {
        return Err("goconserver runs: stop it first, or use makegocons".to_owned());
    }
    let store = Store::open()?;
    let mut text = format!(
        "# Written by makeconservercf of the xCAT stand-in.\nconfig * {{ }}\n\
         default full {{ rw *; }}\ndefault node {{ include full; {WHERE} localhost; \
         logfile \"/dev/null\"; type exec; }}\naccess * {{ trusted 127.0.0.1, 10.0.0.0/8; }}\n"
    );
    let nodes = with_consoles(store)?;
    for node in &nodes {
        text.push_str(&format!("console {node} {{ include node; exec \"cat\"; }}\n"));
    }
    change(OTHER_UNIT, UNIT);
    if write(CONFIGURATION, &text)? {
        let renewed = renew(UNIT, "restart");
        if !nodes.is_empty() {
            renewed?;
        }
    }
    Ok(format!("{} consoles\n", nodes.len()))
}

/// goconserver instead: it starts unless conserver runs, and once there is a console.
pub fn make_other() -> Result<String> {
    if !std::fs::exists(OTHER_PROGRAM).unwrap_or(false) {
        return Err("goconserver is not installed".to_owned());
    }
    if with_consoles(Store::open()?)?.is_empty() {
        return Err("no node has a console".to_owned());
    }
    if is_active(UNIT) {
        return Err("conserver runs: stop it first".to_owned());
    }
    change(UNIT, OTHER_UNIT);
    match is_active(OTHER_UNIT) {
        true => Ok(String::new()),
        false => run(&["systemctl", "restart", OTHER_UNIT]),
    }
}

fn is_active(unit: &str) -> bool {
    run(&["systemctl", "is-active", "--quiet", unit]).is_ok()
}

/// What a boot starts; a failure of this is only told.
fn change(from: &str, to: &str) {
    for words in [["disable", from], ["enable", to]] {
        let [verb, unit] = words;
        if let Err(why) = run(&["systemctl", verb, "--quiet", unit]) {
            eprintln!("{why}");
        }
    }
}

fn with_consoles(store: Store) -> Result<Vec<String>> {
    let mut nodes = Vec::new();
    for row in store.rows("nodehm")? {
        if let [node, mgt, cons, ..] = row.as_slice()
            && !(cons.is_empty() && mgt.is_empty())
        {
            nodes.push(node.clone());
        }
    }
    Ok(nodes)
}

/// What goconserver is here: a listener that drops whoever comes.
pub fn listen() -> Result<String> {
    let listener = TcpListener::bind(OTHER).map_err(|why| format!("{OTHER}: {why}"))?;
    listener.incoming().for_each(drop);
    Err("no more connections".into())
}
