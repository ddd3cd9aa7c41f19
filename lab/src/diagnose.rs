//! What a person needs after a failure, one directory per run: journals, addresses, gate, status
//! and replication of each host, consoles included. Collecting never fails; what could not be had
//! says why in its file.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::dirs::base_dir;
use crate::host::Host;
use crate::lab::Lab;
use crate::{record, say};

const EACH: Duration = Duration::from_secs(10);

const QUESTIONS: [(&str, &str); 11] = [
    ("journal", "journalctl --no-pager -o short-precise --no-hostname"),
    ("addresses", "ip -d a; ip neigh; ip route; ss -tanp"),
    ("gate", "nft list ruleset"),
    ("status", "regent status --json; echo; regent status; regent explain"),
    ("history", "regent history"),
    (
        "stack",
        "regent stack show; cat /var/lib/regent/stack/*; ls -la /HA-data /HA-data/.regent; \
         cat /HA-data/.regent/claim; ls -la /etc /run/regent; cat /etc/hosts /etc/resolv.conf",
    ),
    (
        "units",
        "systemctl --no-pager --all list-units --type=service; systemctl --no-pager list-jobs",
    ),
    ("processes", "ps axo pid,ppid,stat,rtprio,ni,wchan:20,etime,args"),
    (
        "threads",
        "for p in $(pidof mariadbd regent); do for t in /proc/$p/task/*; do \
         echo \"$t $(cat $t/comm) $(cat $t/wchan)\"; cat $t/stack; done; done",
    ),
    (
        "database",
        "mariadb -e \"SELECT @@global.read_only, @@global.server_id, @@global.gtid_binlog_pos, \
         @@global.gtid_slave_pos, @@global.gtid_binlog_state\\G SHOW SLAVE STATUS\\G \
         SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync%'; SHOW FULL PROCESSLIST; SHOW BINARY LOGS\"",
    ),
    ("marker", "mariadb -e \"SHOW DATABASES; SHOW TABLES IN regent\""),
];

/// Writes target/lab/diagnostics/RUN/HOST-QUESTION.txt and says where.
pub fn collect(lab: &Lab) -> Option<PathBuf> {
    let dir = base_dir().ok()?.join("diagnostics").join(&lab.name);
    fs::create_dir_all(&dir).ok()?;
    for host in lab.hosts() {
        for (name, command) in QUESTIONS {
            let file = dir.join(format!("{}-{name}.txt", host.spec.name));
            fs::write(file, ask(host, command)).ok();
        }
        let console = lab.dir.join("hosts").join(&host.spec.name).join("console.log");
        fs::copy(console, dir.join(format!("{}-console.txt", host.spec.name))).ok();
    }
    say::line(&format!("lab     diagnostics in {}", dir.display()));
    Some(dir)
}

/// The tape's errors and the changes of the VIP's speaker, beside the hosts' answers.
pub fn collect_tape(lab: &Lab, tape: &record::Tape) {
    let Ok(base) = base_dir() else { return };
    let dir = base.join("diagnostics").join(&lab.name);
    fs::create_dir_all(&dir).ok();
    fs::write(dir.join("clients.txt"), format!("{:#?}\n", tape.errors)).ok();
    let frames: Vec<String> = tape
        .frames
        .iter()
        .map(|(mac, first, last)| {
            let since = |at: &u64| at.saturating_sub(say::start()) as f64 / 1e6;
            format!("{:.6} {:.6} {mac}", since(first), since(last))
        })
        .collect();
    fs::write(dir.join("vip.txt"), frames.join("\n") + "\n").ok();
    let writes: Vec<String> = tape
        .writes
        .iter()
        .map(|(by, id, sent, done)| {
            let since = |at: &u64| at.saturating_sub(say::start()) as f64 / 1e6;
            format!("{:.6} {:.6} {by:?} {id}", since(sent), since(done))
        })
        .collect();
    fs::write(dir.join("writes.txt"), writes.join("\n") + "\n").ok();
}

fn ask(host: &Host, command: &str) -> Vec<u8> {
    let bounded = ["timeout", "8", "/bin/sh", "-c", command];
    match host.enter(&bounded, EACH) {
        Ok(mut output) => {
            output.stdout.extend(output.stderr);
            output.stdout
        }
        Err(error) => format!("{error:#}\n").into_bytes(),
    }
}
