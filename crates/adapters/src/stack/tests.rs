//! The stack on temporary directories.

mod crash;
mod lost;
mod steps;
mod units;

use super::settings::StackSettings;
use super::*;
use crate::testing::skipped;
use regent_config::steps::{Kind, Step};
use regent_core::health::Weight;
use regent_core::id::{ClusterId, Epoch, NodeId};
use regent_core::stack::StepId;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Two hosts' directories and a shared one; removed at the end.
struct Ground {
    root: PathBuf,
}

impl Ground {
    fn new() -> Ground {
        Ground::on(&std::env::temp_dir())
    }

    fn on(directory: &Path) -> Ground {
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = directory.join(format!("stack-{}-{n}", std::process::id()));
        fs::create_dir_all(root.join("data")).unwrap();
        let ground = Ground { root };
        make_token(&ground.data(), "token").unwrap();
        ground
    }

    fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    fn host(&self, n: u16) -> Host {
        Host::at(&self.root, n)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// One host: its files are below a directory.
struct Host {
    root: PathBuf,
    stack: Stack,
}

fn step(name: &str, kind: Kind) -> Step {
    Step {
        name: name.into(),
        weight: Weight::Vital,
        kind,
        start_within: Duration::from_secs(20),
        stop_within: Duration::from_millis(300),
    }
}

fn link_step(root: &Path, data: &Path, path: &str) -> Step {
    let kind = Kind::Link {
        path: root.join(path.trim_start_matches('/')),
        target: data.join(path.trim_start_matches('/')),
    };
    step(&format!("link {path}"), kind)
}

fn settings(ground: &Path, n: u16) -> StackSettings {
    let (root, data) = (ground.join(format!("host{n}")), ground.join("data"));
    StackSettings {
        node: NodeId(n),
        name: format!("host{n}"),
        cluster: ClusterId(7),
        vips: vec![],
        interface: "lo".into(),
        steps: vec![
            link_step(&root, &data, "/install"),
            link_step(&root, &data, "/etc/xcat"),
            link_step(&root, &data, "/root/.xcat"),
            step("resolver", Kind::Resolver("10.1.0.100".parse().unwrap())),
            step(
                "carry",
                Kind::Carry {
                    files: vec!["/etc/hosts".into(), "/etc/ssh/ssh_host_*".into()],
                    store: data.join(".regent/carried"),
                },
            ),
        ],
        state_dir: root.join("var/lib/regent"),
        run_dir: root.join("run/regent"),
        data,
    }
}

impl Host {
    /// As a host has them before regent came.
    fn at(ground: &Path, n: u16) -> Host {
        let root = ground.join(format!("host{n}"));
        if !root.exists() {
            for directory in ["etc/xcat/cert", "etc/ssh", "root/.xcat", "run/regent"] {
                fs::create_dir_all(root.join(directory)).unwrap();
            }
            fs::write(root.join("etc/xcat/cfgloc"), format!("of host{n}")).unwrap();
            fs::write(root.join("etc/xcat/cert/key"), "secret").unwrap();
            let closed = fs::Permissions::from_mode(0o600);
            fs::set_permissions(root.join("etc/xcat/cert/key"), closed.clone()).unwrap();
            fs::set_permissions(root.join("root"), fs::Permissions::from_mode(0o700)).unwrap();
            fs::write(root.join("etc/resolv.conf"), "search x\nnameserver 10.1.0.1\n").unwrap();
            fs::write(root.join("etc/hosts"), format!("127.0.0.1 host{n}\n")).unwrap();
            fs::write(root.join("etc/ssh/ssh_host_key"), format!("key of {n}")).unwrap();
            fs::set_permissions(root.join("etc/ssh/ssh_host_key"), closed).unwrap();
        }
        let stack = Stack::at(settings(ground, n), root.clone());
        Host { root, stack }
    }

    fn with_steps(ground: &Ground, n: u16, steps: impl FnOnce(&Path, &Path) -> Vec<Step>) -> Host {
        let mut host = ground.host(n);
        let mut settings = (*host.stack.settings).clone();
        settings.steps = steps(&host.root, &settings.data);
        host.stack = Stack::at(settings, host.root.clone());
        host
    }

    fn try_do(&mut self, step: StackStep) -> StackResult {
        self.stack.step(step).0
    }

    fn does(&mut self, step: StackStep) {
        assert_eq!(self.try_do(step), StackResult::Done, "{step:?}");
    }

    fn steps(&self) -> u16 {
        self.stack.settings.steps.len() as u16
    }

    fn activate(&mut self, epoch: u64) {
        self.does(StackStep::Claim { epoch: Epoch(epoch), over: None });
        for n in 0..self.steps() {
            self.does(StackStep::Up { step: StepId(n) });
        }
    }

    fn deactivate(&mut self, epoch: u64) {
        self.does(StackStep::Revoke);
        for n in (0..self.steps()).rev() {
            self.does(StackStep::Down { step: StepId(n) });
        }
        self.does(StackStep::Unclaim { epoch: Epoch(epoch) });
    }

    fn survey(&mut self) -> Survey {
        self.stack.step(StackStep::Survey).1.unwrap()
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap()
    }

    fn write(&self, path: &str, text: &str) {
        fs::write(self.root.join(path), text).unwrap();
    }

    fn journal(&self) -> Vec<Line> {
        journal(&self.stack.settings.state_dir, 1000).unwrap()
    }

    /// All files below the host's root but our own, with their content, owner, mode and where links lead.
    fn looks(&self) -> Vec<String> {
        looks(&self.root)
    }
}

fn looks(root: &Path) -> Vec<String> {
    let mut all = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            let shown = path.strip_prefix(root).unwrap().display().to_string();
            if shown.starts_with("var") {
                continue;
            }
            let found = fs::symlink_metadata(&path).unwrap();
            let what = match files::stand(&path).unwrap() {
                files::Stand::Link(to) => format!("-> {}", to.display()),
                files::Stand::Directory => {
                    pending.push(path.clone());
                    "/".into()
                }
                files::Stand::File | files::Stand::Nothing => {
                    format!(
                        "= {:?}",
                        fs::read(&path).map(|b| String::from_utf8_lossy(&b).into_owned())
                    )
                }
            };
            all.push(format!("{shown} {:o} {}:{} {what}", found.mode(), found.uid(), found.gid()));
        }
    }
    all.sort();
    all
}
