//! `regent setup shared-data` as it is run, on a host that it must not change.

use regent_agent::ca;
use std::path::PathBuf;
use std::process::Command;

struct Ground(PathBuf);

impl Drop for Ground {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// The shared directory is one of the last things that a set-up uses. The interface has neither of the addresses, so
/// that even a set-up that began with the address would change nothing here.
#[test]
fn what_the_last_stage_would_refuse_is_said_before_the_first_one_begins() {
    let ground = Ground(std::env::temp_dir().join(format!("regent-setup-{}", std::process::id())));
    let root = &ground.0;
    std::fs::create_dir_all(root).unwrap();
    let config = root.join("regent.toml");
    let text = format!(
        "cluster = \"xcat\"\nprofile = \"xcat\"\n\
         [vip]\naddress = \"10.77.0.100/24\"\ninterface = \"lo\"\n\
         [node.mn1]\nid = 1\naddress = \"10.77.0.11\"\n[node.mn2]\nid = 2\naddress = \"10.77.0.12\"\n\
         [stack]\nhostname = \"mgmt\"\ndata = \"{}\"\n[stack.database]\nkind = \"postgresql\"\n",
        root.join("nowhere").display()
    );
    std::fs::write(&config, text).unwrap();
    ca::init(&root.join("ca")).unwrap();
    ca::issue("mn1", &root.join("ca"), &root.join("tls")).unwrap();
    let path = |name: &str| root.join(name).display().to_string();
    let ended = Command::new(env!("CARGO_BIN_EXE_regent"))
        .args(["setup", "shared-data", "--readdress", "10.77.0.11/24"])
        .args(["--config", &path("regent.toml"), "--tls", &path("tls"), "--socket", &path("none")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned()
        + &String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(14), "{said}");
    assert!(said.contains("nowhere is not there: mount it"), "{said}");
    assert!(said.contains("neither 10.77.0.100 nor 10.77.0.11 is on lo"), "{said}");
    assert!(said.contains("nothing was changed on mn1"), "{said}");
}
