//! Where a server keeps its data, and what that means for a copy: where it is put together, how it takes the place of
//! the old data, and whether there is room.
//!
//! ```text
//! a plain directory, also behind a symbolic link          the root of a mount, also of a bind mount
//!   /var/lib/mysql                                          /var/lib/mysql
//!   /var/lib/mysql.clone        put together                /var/lib/mysql/.regent/clone
//!   /var/lib/mysql.kept-...     replaced, kept              /var/lib/mysql/.regent/kept-...
//! ```
//! Always on the file system of the data, so that nothing is copied twice. A directory changes places with its copy in
//! one step. The root of a mount cannot be renamed: its entries are moved one by one, with a note on the disk of how
//! far that is, and [`Site::finish`] brings it to its end after a crash, before anybody starts the server.

use crate::database::keep;
use crate::database::names::{stamp, unused};
use crate::database::settings::DATADIR;
use crate::database::sql::{Client, SqlError};
use crate::database::tool;
use crate::durable;
use rustix::fs::{AtFlags, CWD, RenameFlags, StatxAttributes, StatxFlags};
use std::ffi::OsString;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Where copies are, inside the root of a mount; the server is told to see no database in it.
pub(crate) const INSIDE: &str = ".regent";
/// How the name of a folder there begins that has files of a log that began anew.
pub(crate) const LOG: &str = "log-";
/// The file system's own.
const LOST_AND_FOUND: &str = "lost+found";
/// Entries of the old data are being moved aside; the name of the folder for them is in it.
const OUT: &str = "exchange.out";
/// All of them are; those of the copy are being moved in.
const IN: &str = "exchange.in";
/// Outside the data: what kind of place they have.
const PLACE: &str = "database.place";
const MOUNT: &str = "mount";
const PLAIN: &str = "plain";
/// What is asked for beyond the size of the data: a tenth for what is written meanwhile, and this.
const SPARE: u64 = 64 << 20;

/// The place of a server's data.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Site {
    /// Where they really are.
    pub(crate) data: PathBuf,
    copies: PathBuf,
    prefix: OsString,
    inside: bool,
}

impl Site {
    /// Of this data directory, which may be a symbolic link, the root of a mount, or not there.
    pub(crate) fn of(datadir: &Path) -> io::Result<Site> {
        let data = match std::fs::canonicalize(datadir) {
            Err(fault)
                if fault.kind() == ErrorKind::NotFound && datadir.symlink_metadata().is_err() =>
            {
                let name = datadir.file_name().ok_or_else(|| nowhere(datadir))?;
                datadir.parent().ok_or_else(|| nowhere(datadir))?.canonicalize()?.join(name)
            }
            found => found.map_err(|fault| at(datadir, &fault))?,
        };
        if data.exists() && is_mount(&data)? {
            let copies = data.join(INSIDE);
            return Ok(Site { data, copies, prefix: OsString::new(), inside: true });
        }
        let copies = data.parent().ok_or_else(|| nowhere(&data))?.to_path_buf();
        let mut prefix = data.file_name().ok_or_else(|| nowhere(&data))?.to_os_string();
        prefix.push(".");
        Ok(Site { data, copies, prefix, inside: false })
    }

    fn named(&self, what: &str) -> PathBuf {
        let mut name = self.prefix.clone();
        name.push(what);
        self.copies.join(name)
    }

    /// Where a copy is put together.
    pub(crate) fn staging(&self) -> PathBuf {
        self.named("clone")
    }

    /// An empty folder for a copy; an unfinished one is removed first.
    pub(crate) fn make_staging(&self) -> io::Result<PathBuf> {
        self.drop_staging()?;
        let folder = self.staging();
        std::fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Gives back what an unfinished copy takes; not while its entries are being moved in.
    pub(crate) fn drop_staging(&self) -> io::Result<()> {
        if self.inside && (self.copies.join(OUT).exists() || self.copies.join(IN).exists()) {
            return Err(io::Error::other("an exchange of the data is not finished"));
        }
        remove_all(&self.staging())
    }

    /// Replaced data that are kept, oldest first.
    pub(crate) fn kept(&self) -> io::Result<Vec<PathBuf>> {
        let prefix = self.named("kept-");
        let prefix = prefix.file_name().unwrap_or_default().as_encoded_bytes();
        let entries = match std::fs::read_dir(&self.copies) {
            Err(fault) if fault.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut kept = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(prefix) {
                kept.push(entry.path());
            }
        }
        // The name begins with the date.
        kept.sort();
        Ok(kept)
    }

    /// Notes whether the data are a mount of their own, with the server on them: one that is not mounted later is no
    /// place for a copy.
    pub(crate) fn note(&self, state_dir: &Path) -> io::Result<()> {
        let path = state_dir.join(PLACE);
        let now = if self.inside { MOUNT } else { PLAIN };
        if std::fs::read_to_string(&path).is_ok_and(|known| known == now) {
            return Ok(());
        }
        durable::replace(&path, now.as_bytes(), 0o600)
    }

    /// As it was noted.
    pub(crate) fn expect_as_before(&self, state_dir: &Path) -> io::Result<()> {
        let known = std::fs::read_to_string(state_dir.join(PLACE)).unwrap_or_default();
        if known == MOUNT && !self.inside {
            let place = self.data.display();
            let text = format!("{place} was a mount of its own, and is none now: mount it");
            return Err(io::Error::other(text));
        }
        Ok(())
    }

    /// Bytes that are free where copies are.
    pub(crate) fn free(&self) -> io::Result<u64> {
        let place = if self.inside || !self.copies.exists() { &self.data } else { &self.copies };
        let found = rustix::fs::statvfs(place)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    /// S6: the old data are moved aside whole and the copy takes their place; where the old ones are. None: there were
    /// none.
    pub(crate) fn exchange(&self, old: &str) -> io::Result<Option<PathBuf>> {
        let kept = unused(&self.named(&format!("kept-{}-{old}", stamp(SystemTime::now()))));
        if self.inside {
            let name = kept.file_name().unwrap_or_default().as_encoded_bytes();
            durable::replace(&self.copies.join(OUT), name, 0o600)?;
            self.finish()?;
            return Ok(Some(kept));
        }
        if !self.data.exists() {
            std::fs::rename(self.staging(), &self.data)?;
            durable::sync_directory(&self.copies)?;
            return Ok(None);
        }
        self.exchange_directories(&kept)?;
        durable::sync_directory(&self.copies)?;
        Ok(Some(kept))
    }

    /// In one step where the file system can do that; else in two, of which each leaves one of the two complete.
    fn exchange_directories(&self, kept: &Path) -> io::Result<()> {
        // Under the name of what is kept already: a crash after the exchange leaves the old data under it.
        std::fs::rename(self.staging(), kept)?;
        match rustix::fs::renameat_with(CWD, kept, CWD, &self.data, RenameFlags::EXCHANGE) {
            Ok(()) => return Ok(()),
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {}
            Err(fault) => {
                std::fs::rename(kept, self.staging())?;
                return Err(at(&self.data, &fault.into()));
            }
        }
        std::fs::rename(kept, self.staging())?;
        std::fs::rename(&self.data, kept)?;
        if let Err(fault) = std::fs::rename(self.staging(), &self.data) {
            std::fs::rename(kept, &self.data)?;
            return Err(fault);
        }
        Ok(())
    }

    /// Brings an exchange entry by entry to its end that was begun; only while no server runs on these data.
    pub(crate) fn finish(&self) -> io::Result<bool> {
        if !self.inside {
            return Ok(false);
        }
        let (out, into) = (self.copies.join(OUT), self.copies.join(IN));
        if let Some(kept) = read_note(&out)? {
            let kept = self.copies.join(kept);
            std::fs::create_dir_all(&kept)?;
            for entry in self.entries()? {
                std::fs::rename(self.data.join(&entry), kept.join(&entry))?;
            }
            durable::sync_directory(&kept)?;
            durable::sync_directory(&self.data)?;
            std::fs::rename(&out, &into)?;
            durable::sync_directory(&self.copies)?;
        }
        if read_note(&into)?.is_none() {
            return Ok(false);
        }
        let staging = self.staging();
        if staging.exists() {
            for entry in std::fs::read_dir(&staging)? {
                let entry = entry?;
                std::fs::rename(entry.path(), self.data.join(entry.file_name()))?;
            }
        }
        durable::sync_directory(&self.data)?;
        std::fs::remove_file(&into)?;
        self.drop_staging()?;
        Ok(true)
    }

    /// What belongs to the server here.
    fn entries(&self) -> io::Result<Vec<OsString>> {
        let names = std::fs::read_dir(&self.data)?.map(|entry| Ok(entry?.file_name()));
        let names: io::Result<Vec<OsString>> = names.collect();
        Ok(names?.into_iter().filter(|name| *name != INSIDE && *name != LOST_AND_FOUND).collect())
    }

    /// Removes the data, but for the notes of the package; only with a word or a key that allows it, and the server
    /// down.
    pub(crate) fn clear(&self, is_note: impl Fn(&str) -> bool) -> io::Result<()> {
        std::fs::create_dir_all(&self.data)?;
        // The name first: what is left in between has none.
        let name = OsString::from(keep::INSIDE);
        let mut entries = self.entries()?;
        entries.sort_by_key(|entry| *entry != name);
        for entry in entries.into_iter().filter(|entry| !is_note(&entry.to_string_lossy())) {
            let path = self.data.join(&entry);
            match path.symlink_metadata()?.is_dir() {
                true => std::fs::remove_dir_all(&path)?,
                false => std::fs::remove_file(&path)?,
            }
        }
        durable::sync_directory(&self.data)
    }
}

fn nowhere(path: &Path) -> io::Error {
    io::Error::other(format!("{} is no place for data", path.display()))
}

fn at(path: &Path, fault: &io::Error) -> io::Error {
    io::Error::new(fault.kind(), format!("{}: {fault}", path.display()))
}

/// Also of a bind mount, whose device tells nothing: statx(2), `STATX_ATTR_MOUNT_ROOT`, Linux 5.8.
fn is_mount(path: &Path) -> io::Result<bool> {
    let found = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::BASIC_STATS)?;
    Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

fn read_note(path: &Path) -> io::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Err(fault) if fault.kind() == ErrorKind::NotFound => Ok(None),
        text => Ok(Some(text?)),
    }
}

/// How much a copy of these data takes, and what of them lies elsewhere.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Extent {
    /// Bytes on the disk, without the logs, which are not copied.
    pub(crate) bytes: u64,
    /// The first table whose file is outside (CREATE TABLE ... DATA DIRECTORY).
    pub(crate) outside: Option<PathBuf>,
}

/// Walks through the data directory.
pub(crate) fn extent(datadir: &Path) -> io::Result<Extent> {
    let site = Site::of(datadir)?;
    let mut found = Extent::default();
    for entry in site.entries()? {
        let path = site.data.join(&entry);
        measure(&path, &mut found, true)?;
    }
    Ok(found)
}

/// All that a folder takes.
pub(crate) fn bytes_of(folder: &Path) -> io::Result<u64> {
    let mut found = Extent::default();
    measure(folder, &mut found, false)?;
    Ok(found.bytes)
}

fn measure(path: &Path, found: &mut Extent, top: bool) -> io::Result<()> {
    // A table that is dropped meanwhile.
    let Ok(meta) = path.symlink_metadata() else { return Ok(()) };
    if meta.is_dir() {
        let entries = match std::fs::read_dir(path) {
            Err(fault) if fault.kind() == ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            measure(&entry?.path(), found, false)?;
        }
        return Ok(());
    }
    if path.extension().is_some_and(|e| e == "isl") {
        found.outside.get_or_insert_with(|| path.to_path_buf());
    }
    if !(top && is_log(path)) {
        found.bytes += meta.blocks() * 512;
    }
    Ok(())
}

/// `binlog.000012`, `relay.000003`.
fn is_log(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.len() >= 6 && e.to_string_lossy().parse::<u64>().is_ok())
}

/// How much must be free for a copy of so much.
pub(crate) fn needed(bytes: u64) -> u64 {
    bytes + bytes / 10 + SPARE
}

/// As people read it.
pub(crate) fn size(bytes: u64) -> String {
    const GIB: u64 = 1 << 30;
    if bytes >= GIB {
        return format!("{}.{} GiB", bytes / GIB, bytes % GIB * 10 / GIB);
    }
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

/// The server's settings of this kind must not lead out of the data directory: a copy would land somewhere else, or
/// take the files of the old data for its own. `value` gives a setting's value; the first that leads out.
pub(crate) fn leads_out(datadir: &Path, value: impl Fn(&str) -> Option<String>) -> Option<String> {
    const FOLDERS: [&str; 4] = [
        "innodb_data_home_dir",
        "innodb_log_group_home_dir",
        "innodb_undo_directory",
        "aria_log_dir_path",
    ];
    let data = real(datadir);
    let out = FOLDERS.into_iter().find_map(|name| {
        let folder = value(name).filter(|folder| !folder.is_empty())?;
        (real(&datadir.join(&folder)) != data).then(|| format!("{name}={folder}"))
    });
    let files = || {
        let files = value("innodb_data_file_path")?;
        files.contains('/').then(|| format!("innodb_data_file_path={files}"))
    };
    out.or_else(files)
}

/// The same of a server that runs.
pub(crate) async fn leads_out_of(
    client: &mut Client,
    datadir: &Path,
    bound: Duration,
) -> Result<Option<String>, SqlError> {
    let look = "SHOW GLOBAL VARIABLES WHERE Variable_name LIKE 'innodb_%' OR Variable_name='aria_log_dir_path'";
    let rows = client.one(look, bound).await?;
    Ok(leads_out(datadir, |name| rows.value(name).map(String::from)))
}

/// Without links; as it is written where it leads nowhere.
pub(crate) fn real(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

/// Removes a folder; it may be gone already, or somebody else may be at it.
pub(crate) fn remove_all(path: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(fault) if fault.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// What the server's configuration files say, by `my_print_defaults --mysqld`: for a server that is down. The last of a
/// name counts; dashes and underscores are the same.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Configured(Vec<(String, String)>);

impl Configured {
    /// Reads them. What cannot be read says nothing.
    pub(crate) async fn read() -> Configured {
        const MOST: Duration = Duration::from_secs(5);
        let mut command = tool::bare("my_print_defaults");
        command.arg("--mysqld");
        command.stdout(std::process::Stdio::piped());
        match tokio::time::timeout(MOST, command.output()).await {
            Ok(Ok(output)) => Configured::of(&String::from_utf8_lossy(&output.stdout)),
            _ => Configured::default(),
        }
    }

    pub(crate) fn of(text: &str) -> Configured {
        let option = |line: &str| {
            let line = line.trim().strip_prefix("--")?;
            let (name, value) = line.split_once('=').unwrap_or((line, "ON"));
            let name = name.replace('-', "_");
            let name = name.strip_prefix("loose_").unwrap_or(&name);
            // A switch may be written as its opposite; some have it in their own name.
            let off = name.strip_prefix("disable_").or_else(|| {
                let own = ["skip_slave_start", "skip_name_resolve", "skip_networking"];
                name.strip_prefix("skip_").filter(|_| !own.contains(&name))
            });
            Some(match off {
                Some(name) => (name.to_owned(), "OFF".to_owned()),
                None => (name.to_owned(), value.to_owned()),
            })
        };
        Configured(text.lines().filter_map(option).collect())
    }

    /// Of this setting.
    pub(crate) fn value(&self, name: &str) -> Option<String> {
        self.0.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }

    /// Where the index of the log is.
    pub(crate) fn log_index(&self, datadir: &Path) -> PathBuf {
        let named = |path: PathBuf| match path.extension() {
            None => path.with_extension("index"),
            Some(_) => path,
        };
        let index = self.value("log_bin_index").map(|index| named(datadir.join(index)));
        let base = || datadir.join(self.value("log_bin").unwrap_or_else(|| "binlog".into()));
        index.unwrap_or_else(|| base().with_extension("index"))
    }
}

/// The data directory that the server's configuration names: read once, before the first worker.
pub fn configured_datadir() -> PathBuf {
    let output = std::process::Command::new("my_print_defaults").arg("--mysqld").output();
    let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
    Configured::of(&text).value("datadir").map_or_else(|| PathBuf::from(DATADIR), PathBuf::from)
}

/// Brings an exchange of data to its end that a crash cut short; before the server is started.
pub fn finish(datadir: &Path) -> io::Result<bool> {
    Site::of(datadir)?.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("rgdb-site-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(folder.join("mysql")).expect("made");
        folder.canonicalize().expect("there")
    }

    fn put(path: PathBuf, text: &str) {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    }

    fn has(path: PathBuf, text: &str) -> bool {
        std::fs::read_to_string(path).is_ok_and(|found| found == text)
    }

    #[test]
    fn a_directory_and_its_copy_change_places_also_behind_a_link() {
        let root = folder("link");
        put(root.join("mysql/ibdata1"), "old");
        std::os::unix::fs::symlink(root.join("mysql"), root.join("elsewhere")).expect("linked");
        let site = Site::of(&root.join("elsewhere")).expect("a site");
        assert_eq!(site.staging(), root.join("mysql.clone"));
        put(site.make_staging().expect("made").join("ibdata1"), "new");
        let kept = site.exchange("7").expect("exchanged").expect("kept");
        assert!(has(root.join("elsewhere/ibdata1"), "new") && has(kept.join("ibdata1"), "old"));
        assert!(!site.staging().exists());
        put(site.make_staging().expect("made").join("ibdata1"), "newer");
        let again = site.exchange("7").expect("exchanged").expect("kept");
        assert_ne!(again, kept, "within the same second, too");
        assert_eq!(site.kept().expect("read"), [kept, again]);
        std::fs::remove_dir_all(root).expect("removed");
    }

    #[test]
    fn data_that_are_not_there_at_all_get_their_place() {
        let root = folder("gone");
        std::fs::remove_dir(root.join("mysql")).expect("removed");
        let site = Site::of(&root.join("mysql")).expect("a site");
        put(site.make_staging().expect("made").join("ibdata1"), "new");
        assert_eq!(site.exchange("unnamed").expect("exchanged"), None);
        assert!(has(root.join("mysql/ibdata1"), "new"));
        std::fs::remove_dir_all(root).expect("removed");
    }

    #[test]
    fn an_exchange_inside_a_mount_is_brought_to_its_end_from_wherever_it_was_cut_short() {
        for cut in 0..4 {
            let root = folder(&format!("mount{cut}"));
            let data = root.join("mysql");
            let copies = data.join(INSIDE);
            let site = Site { data: data.clone(), copies, prefix: OsString::new(), inside: true };
            put(data.join("ibdata1"), "old");
            put(data.join("app/t.ibd"), "old table");
            put(data.join("lost+found/x"), "the file system's");
            let staging = site.make_staging().expect("made");
            put(staging.join("ibdata1"), "new");
            put(staging.join("app/t.ibd"), "new table");
            let kept = site.copies.join("kept-1");
            if cut > 0 {
                durable::replace(&site.copies.join(OUT), b"kept-1", 0o600).expect("noted");
            }
            if cut > 1 {
                std::fs::create_dir_all(&kept).expect("made");
                std::fs::rename(data.join("app"), kept.join("app")).expect("moved");
            }
            if cut > 2 {
                std::fs::rename(data.join("ibdata1"), kept.join("ibdata1")).expect("moved");
                std::fs::rename(site.copies.join(OUT), site.copies.join(IN)).expect("noted");
                std::fs::rename(staging.join("app"), data.join("app")).expect("moved");
            }
            assert_eq!(site.finish().expect("finished"), cut > 0);
            if cut > 0 {
                assert!(has(data.join("app/t.ibd"), "new table"), "{cut}");
                assert!(has(data.join("ibdata1"), "new") && has(kept.join("ibdata1"), "old"));
                assert!(has(kept.join("app/t.ibd"), "old table"), "{cut}");
                assert!(!site.finish().expect("nothing left to do"));
            }
            assert!(has(data.join("lost+found/x"), "the file system's"));
            std::fs::remove_dir_all(root).expect("removed");
        }
    }

    #[test]
    fn what_lies_outside_is_found_and_logs_are_not_counted() {
        let root = folder("extent");
        put(root.join("mysql/ibdata1"), &"x".repeat(100_000));
        let before = extent(&root.join("mysql")).expect("measured");
        put(root.join("mysql/binlog.000001"), &"x".repeat(1_000_000));
        assert_eq!(extent(&root.join("mysql")).expect("measured"), before);
        assert!(before.bytes >= 100_000 && before.bytes < 500_000 && before.outside.is_none());
        put(root.join("mysql/app/t.isl"), "/elsewhere/t.ibd");
        let found = extent(&root.join("mysql")).expect("measured");
        assert_eq!(found.outside, Some(root.join("mysql/app/t.isl")));
        let out = |name: &'static str, value: &'static str| {
            leads_out(&root.join("mysql"), |asked| (asked == name).then(|| value.to_string()))
        };
        assert_eq!(out("innodb_data_home_dir", ""), None);
        assert_eq!(out("innodb_log_group_home_dir", "./"), None);
        assert_eq!(out("innodb_undo_directory", "/srv"), Some("innodb_undo_directory=/srv".into()));
        assert!(out("innodb_data_file_path", "/srv/ibdata1:12M").is_some());
        assert_eq!(out("innodb_data_file_path", "ibdata1:12M:autoextend"), None);
        std::fs::remove_dir_all(root).expect("removed");
    }

    #[test]
    fn configuration_is_read_as_the_server_reads_it() {
        let read =
            Configured::of("--datadir=/a\n--log-bin=/logs/bin.log\n--skip-name\n--datadir=/b\n");
        assert_eq!(read.value("datadir").as_deref(), Some("/b"));
        assert_eq!(read.log_index(Path::new("/b")), Path::new("/logs/bin.index"));
        let none = Configured::default();
        assert_eq!(none.log_index(Path::new("/b")), Path::new("/b/binlog.index"));
    }
}
