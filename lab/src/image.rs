//! The disk all hosts start from: one debootstrapped Debian 12, cached by the hash of what goes
//! into it; and what an xCAT management node has beyond it, as a layer of its own over the first.
//! Promises that a half-made image is never used, and that two runs do not make one at once. The
//! mirror is the one the machine's own apt uses.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::run::{is_interrupted, run, run_within, words};

const SUITE: &str = "bookworm";

/// First stage, by debootstrap.
const BASE: &str = "systemd,systemd-sysv,dbus,ca-certificates";

/// Second stage, by the image's own apt, security updates included.
const PACKAGES: &str = "mariadb-server mariadb-backup nftables iproute2 nginx-light curl procps \
                        iputils-ping iputils-arping tcpdump less strace psmisc keepalived libfaketime \
                        fence-agents";

/// Raised when the recipe below changes in a way that the lists above do not show.
const RECIPE: &str = "3";

/// What an xCAT management node has beyond that, its client and its shared storage included.
const XCAT: &str = "conserver-server conserver-client isc-dhcp-server isc-dhcp-client bind9 \
                    bind9-dnsutils tftpd-hpa tftp-hpa postgresql sqlite3 openssh-server \
                    openssh-client sshfs fuse3 glusterfs-server glusterfs-client ifupdown attr";

/// What of both nobody but Regent starts; the generated units of init scripts included.
const AT_REST: &str = "mariadb nginx keepalived conserver-server isc-dhcp-server named \
                       named-resolvconf tftpd-hpa postgresql ssh glusterd glustereventsd networking";

/// Raised when the recipe of the layer changes.
const XCAT_RECIPE: &str = "1";

/// A finished image.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its root directory; read-only by agreement. Of a layer: what it has beyond the layers below.
    pub root: PathBuf,
    below: Option<PathBuf>,
}

impl Image {
    /// Its layers for a mount of an overlay, the topmost first.
    pub fn lower(&self) -> String {
        let below = self.below.iter().map(|below| format!(":{}", below.display()));
        format!("{}{}", self.root.display(), below.collect::<String>())
    }

    /// The image of xCAT management nodes: the cached one, or a new one.
    pub fn ensure_xcat(base: &Path, progress: &mut dyn FnMut(&str)) -> Result<Image> {
        let below = Image::ensure(base, progress)?.root;
        let key = fnv1a(&[&key(), XCAT, AT_REST, XCAT_RECIPE].join("|"));
        let root = base.join(format!("image-xcat-{key:016x}"));
        let _lock = lock(base)?;
        if !root.exists() {
            let part = base.join("image-xcat.part");
            remove_tree(&part)?;
            build_xcat(&part, &below, progress)?;
            fs::rename(part.join("upper"), &root)?;
            remove_tree(&part)?;
        }
        Ok(Image { root, below: Some(below) })
    }

    /// The cached image, or a new one, made in about two minutes while `progress` is told.
    pub fn ensure(base: &Path, progress: &mut dyn FnMut(&str)) -> Result<Image> {
        fs::create_dir_all(base)?;
        let root = base.join(format!("image-{}", key()));
        let _lock = lock(base)?;
        if !root.exists() {
            let part = base.join("image.part");
            remove_tree(&part)?;
            build(&part, progress)?;
            fs::rename(&part, &root)?;
        }
        Ok(Image { root, below: None })
    }

    /// Whether `ensure` would find it ready.
    pub fn is_cached(base: &Path) -> bool {
        base.join(format!("image-{}", key())).exists()
    }
}

fn key() -> String {
    format!("{:016x}", fnv1a(&[SUITE, BASE, PACKAGES, RECIPE].join("|")))
}

/// One builder at a time, for as long as the file is open.
fn lock(base: &Path) -> Result<fs::File> {
    let lock = fs::File::create(base.join("image.lock"))?;
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
    Ok(lock)
}

/// Removes a directory tree; its absence is fine.
pub fn remove_tree(path: &Path) -> Result<()> {
    if path.exists() {
        fs::remove_dir_all(path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

fn build(part: &Path, progress: &mut dyn FnMut(&str)) -> Result<()> {
    let sources = sources_of_host()?;
    let mirror = sources
        .iter()
        .find(|source| source.split(' ').nth(2) == Some(SUITE))
        .and_then(|source| source.split(' ').nth(1))
        .context("apt of this machine has no source of suite bookworm: apt-get update first")?;
    let mut bootstrap = Command::new("debootstrap");
    bootstrap.args(["--variant=minbase", &format!("--include={BASE}"), SUITE]).arg(part);
    bootstrap.arg(mirror);
    follow(&mut bootstrap, "base system", 600, progress)?;

    fs::write(part.join("etc/apt/sources.list"), sources.join("\n") + "\n")?;
    fs::write(part.join("usr/sbin/policy-rc.d"), "#!/bin/sh\nexit 101\n")?;
    run(&mut words(&format!("chmod 755 {}/usr/sbin/policy-rc.d", part.display())))?;
    fs::write(
        part.join("etc/dpkg/dpkg.cfg.d/lab"),
        "force-unsafe-io\npath-exclude=/usr/share/doc/*\npath-exclude=/usr/share/man/*\n\
         path-exclude=/usr/share/locale/*\n",
    )?;
    fs::copy("/etc/resolv.conf", part.join("etc/resolv.conf"))?;
    let script = format!(
        "mount -t proc proc \"$1/proc\"; mount -t devtmpfs dev \"$1/dev\"; \
         exec chroot \"$1\" /bin/sh -ec 'export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8; \
         apt-get update; apt-get -y upgrade; \
         apt-get -y --no-install-recommends install {PACKAGES}; apt-get clean'"
    );
    let mut install = Command::new("unshare");
    install.args(["--mount", "--propagation", "private", "sh", "-ec", &script, "sh"]).arg(part);
    follow(&mut install, "packages", 900, progress)?;

    for left_over in ["usr/sbin/policy-rc.d", "etc/resolv.conf", "etc/hostname"] {
        fs::remove_file(part.join(left_over)).ok();
    }
    // A journal on disk outlives a power-off; the size bounds what a long run leaves.
    fs::create_dir_all(part.join("var/log/journal"))?;
    fs::create_dir_all(part.join("etc/systemd/journald.conf.d"))?;
    fs::write(
        part.join("etc/systemd/journald.conf.d/lab.conf"),
        "[Journal]\nStorage=persistent\nSystemMaxUse=64M\nSyncIntervalSec=1s\nRateLimitBurst=0\n",
    )?;
    // Timers of Debian that would start work in the middle of a measurement.
    for timer in ["apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer"] {
        let link = part.join("etc/systemd/system").join(timer);
        std::os::unix::fs::symlink("/dev/null", link).ok();
    }
    fs::write(part.join("etc/machine-id"), "")?;
    Ok(())
}

/// Installs into an overlay whose upper directory is the layer.
fn build_xcat(part: &Path, below: &Path, progress: &mut dyn FnMut(&str)) -> Result<()> {
    for dir in ["upper", "work", "root"] {
        fs::create_dir_all(part.join(dir))?;
    }
    // Extended attributes of redirects would tie the layer to the place of the one below.
    let options = format!(
        "redirect_dir=off,lowerdir={},upperdir={1}/upper,workdir={1}/work",
        below.display(),
        part.display()
    );
    let script = format!(
        "mount -t overlay overlay -o \"$1\" \"$2\"; cp /etc/resolv.conf \"$2/etc/resolv.conf\"; \
         printf '#!/bin/sh\\nexit 101\\n' > \"$2/usr/sbin/policy-rc.d\"; \
         chmod 755 \"$2/usr/sbin/policy-rc.d\"; \
         mount -t proc proc \"$2/proc\"; mount -t devtmpfs dev \"$2/dev\"; \
         exec chroot \"$2\" /bin/sh -ec 'export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8; \
         apt-get update; apt-get -y --no-install-recommends install {XCAT}; apt-get clean; \
         for unit in {AT_REST}; do systemctl disable $unit; done; \
         rm -f /usr/sbin/policy-rc.d /etc/resolv.conf /etc/hostname /etc/ssh/ssh_host_*'"
    );
    let mut install = Command::new("unshare");
    install.args(["--mount", "--propagation", "private", "sh", "-ec", &script, "sh", &options]);
    install.arg(part.join("root"));
    follow(&mut install, "packages of xCAT", 900, progress)
}

/// Debian's sources as this machine's apt knows them, in the one-line format.
fn sources_of_host() -> Result<Vec<String>> {
    let mut command = Command::new("apt-get");
    command.args(["indextargets", "--format", "deb $(REPO_URI) $(RELEASE) $(COMPONENT)"]);
    command.args(["Created-By: Packages", "Origin: Debian"]);
    let listed = run(&mut command)?;
    let mut sources: Vec<String> = listed
        .lines()
        .filter(|line| line.split(' ').nth(2).is_some_and(|release| release.starts_with(SUITE)))
        .map(str::to_owned)
        .collect();
    sources.sort();
    sources.dedup();
    Ok(sources)
}

/// Runs a long command, tells its lines as progress, and shows the last of them if it fails.
fn follow(
    command: &mut Command,
    what: &str,
    bound_s: u64,
    progress: &mut dyn FnMut(&str),
) -> Result<()> {
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec timeout \"$@\" 2>&1", "sh"]).arg(bound_s.to_string());
    shell.arg(command.get_program()).args(command.get_args());
    shell.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
    let mut child = shell.spawn().with_context(|| format!("cannot start {shell:?}"))?;
    let lines = BufReader::new(child.stdout.take().context("no stdout")?);
    let mut last: Vec<String> = Vec::new();
    for (count, line) in lines.lines().enumerate() {
        let line = line?;
        progress(&format!("{what}, line {}: {line}", count + 1));
        last.push(line);
        if last.len() > 20 {
            last.remove(0);
        }
        if is_interrupted() {
            let group = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process_group(group, rustix::process::Signal::KILL).ok();
            let _ = child.wait();
            bail!("interrupted while making the image ({what})");
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("image, {what}: {status}\n{}", last.join("\n"));
    }
    Ok(())
}

/// Seconds that removing what a run left may take.
pub fn remove_tree_slow(path: &Path) -> Result<()> {
    let mut command = Command::new("rm");
    command.args(["-rf", "--one-file-system", "--"]).arg(path);
    run_within(&mut command, Duration::from_secs(60)).map(drop)
}

fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(fnv1a("foobar"), 0x8594_4171_f739_67e8);
    }
}
