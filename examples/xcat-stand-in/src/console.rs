//! `makeconservercf`: the consoles of all nodes that have one.

use crate::store::Store;
use crate::{Result, renew, write};

const CONFIGURATION: &str = "/etc/conserver/conserver.cf";
/// Conserver's word for the host that has a console.
const WHERE: &str = "master";

/// Writes the configuration; a running server reads it again.
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
        renew("conserver-server.service", "restart")?;
    }
    Ok(format!("{count} consoles\n"))
}
