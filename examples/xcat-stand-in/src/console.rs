//! `makeconservercf` and `makegocons`: the consoles of all nodes that have one, for one of two servers. Which of the
//! two a site uses is what the last of these commands left in a file.

use std::net::TcpListener;

use crate::store::Store;
use crate::{Result, renew, run, write};

const CONFIGURATION: &str = "/etc/conserver/conserver.cf";
const UNIT: &str = "conserver-server.service";
/// Names the server in use.
const IN_USE: &str = "/etc/xcat/console.lock";
/// Where goconserver is asked.
const OTHER: &str = "0.0.0.0:12430";
/// Conserver's word for the host that has a console.
const WHERE: &str = "master";

/// Writes the configuration; a running server reads it again. Conserver ends with an error without a console, which is
/// not this command's concern.
pub fn make() -> Result<String> {
    let store = Store::open()?;
    let mut text = format!(
        "# Written by makeconservercf of the xCAT stand-in.\nconfig * {{ }}\n\
         default full {{ rw *; }}\ndefault node {{ include full; {WHERE} localhost; \
         logfile \"/dev/null\"; type exec; }}\naccess * {{ trusted 127.0.0.1, 10.0.0.0/8; }}\n"
    );
    let mut count = 0;
    for row in store.rows("nodehm")? {
        if let [node, mgt, cons, ..] = row.as_slice()
            && !(cons.is_empty() && mgt.is_empty())
        {
            text.push_str(&format!("console {node} {{ include node; exec \"cat\"; }}\n"));
            count += 1;
        }
    }
    if write(CONFIGURATION, &text)? {
        let renewed = renew(UNIT, "restart");
        if count > 0 {
            renewed?;
        }
    }
    write(IN_USE, "conserver\n")?;
    Ok(format!("{count} consoles\n"))
}

/// goconserver instead: it starts unless conserver runs.
pub fn make_other() -> Result<String> {
    if run(&["systemctl", "is-active", "--quiet", UNIT]).is_ok() {
        return Err("conserver runs: stop it first".to_owned());
    }
    write(IN_USE, "goconserver\n")?;
    run(&["systemctl", "start", "goconserver.service"])
}

/// What goconserver is here: a listener that drops whoever comes.
pub fn listen() -> Result<String> {
    let listener = TcpListener::bind(OTHER).map_err(|why| format!("{OTHER}: {why}"))?;
    listener.incoming().for_each(drop);
    Err("no more connections".into())
}
