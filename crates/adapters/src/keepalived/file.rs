//! keepalived's own file: laid down, shown, compared, repaired. What somebody else wrote is saved aside, always.

use super::drift::{Whose, drift, parse};
use super::{Files, KeepalivedError, daemon};
use crate::durable;
use std::io::ErrorKind;
use std::path::PathBuf;

/// The file as it is, for a person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shown {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it; none if there is none.
    pub text: Option<String>,
    /// Whose it is; none if there is none.
    pub whose: Option<Whose>,
    /// Where it differs from what Regent renders (see [`drift`]); none if it does not.
    pub drift: Option<Vec<String>>,
}

/// What [`repair`] or the start did to the file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Laid {
    /// It was as rendered.
    AlreadySo,
    /// It is now; it was missing, or an older rendering.
    Written,
    /// It is now; what was there is saved under this name.
    Saved(PathBuf),
    /// Somebody edited it, and it was left: these lines differ.
    Left(Vec<String>),
}

pub(super) fn show(files: &Files, rendered: &str) -> Result<Shown, KeepalivedError> {
    let text = read(files)?;
    let found = text.as_deref().unwrap_or_default();
    Ok(Shown {
        path: files.config.clone(),
        whose: text.as_deref().map(parse),
        drift: drift(rendered, found),
        text,
    })
}

/// Makes the file as rendered. One that was edited by hand is left as it is, unless `edited` says otherwise.
pub(super) fn lay(files: &Files, rendered: &str, edited: bool) -> Result<Laid, KeepalivedError> {
    let Some(found) = read(files)? else {
        return write(files, rendered).map(|()| Laid::Written);
    };
    let Some(lines) = drift(rendered, &found) else { return Ok(Laid::AlreadySo) };
    let aside = match parse(&found) {
        Whose::Rendered => return write(files, rendered).map(|()| Laid::Written),
        Whose::Edited if !edited => return Ok(Laid::Left(lines)),
        Whose::Edited => save(files, "edited")?,
        Whose::Foreign => save(files, "before-regent")?,
    };
    write(files, rendered)?;
    Ok(Laid::Saved(aside))
}

/// The same, and has keepalived read it.
pub(super) fn repair(files: &Files, rendered: &str) -> Result<Laid, KeepalivedError> {
    let laid = lay(files, rendered, true)?;
    if laid != Laid::AlreadySo {
        daemon::reload(&files.run);
    }
    Ok(laid)
}

fn read(files: &Files) -> Result<Option<String>, KeepalivedError> {
    match std::fs::read(&files.config) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(KeepalivedError::file("read", &files.config)(error)),
    }
}

/// A copy under a name that is free yet.
fn save(files: &Files, end: &str) -> Result<PathBuf, KeepalivedError> {
    let name = |n: u32| {
        let number = if n == 0 { String::new() } else { format!(".{n}") };
        let mut path = files.config.clone().into_os_string();
        path.push(format!(".{end}{number}"));
        PathBuf::from(path)
    };
    let free = (0..1000).map(name).find(|path| !path.exists());
    let aside = free.unwrap_or_else(|| name(1000));
    std::fs::copy(&files.config, &aside).map_err(KeepalivedError::file("save", &aside))?;
    Ok(aside)
}

/// Whole or not at all.
fn write(files: &Files, rendered: &str) -> Result<(), KeepalivedError> {
    let path = &files.config;
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory).map_err(KeepalivedError::file("make", directory))?;
    }
    durable::replace_unsynced(path, rendered.as_bytes())
        .map_err(KeepalivedError::file("write", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const RENDERED: &str = include_str!("../../testdata/keepalived/one.conf");
    const OTHER: &str = include_str!("../../testdata/keepalived/several.conf");

    fn files(name: &str) -> Files {
        let path = std::env::temp_dir().join(format!("regent-file-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Files { config: path.join("keepalived.conf"), run: path, unit: None }
    }

    fn text(path: &Path) -> String {
        std::fs::read_to_string(path).unwrap()
    }

    #[test]
    fn a_missing_file_and_an_older_rendering_are_written() {
        let files = files("missing");
        assert_eq!(lay(&files, OTHER, false).unwrap(), Laid::Written);
        assert_eq!(lay(&files, RENDERED, false).unwrap(), Laid::Written);
        assert_eq!(lay(&files, RENDERED, false).unwrap(), Laid::AlreadySo);
        assert_eq!(text(&files.config), RENDERED);
        assert_eq!(show(&files, RENDERED).unwrap().drift, None);
        std::fs::remove_dir_all(&files.run).unwrap();
    }

    #[test]
    fn a_foreign_file_is_saved_aside_each_time_under_a_name_of_its_own() {
        let files = files("foreign");
        for (content, end) in [("first\n", ".before-regent"), ("second\n", ".before-regent.1")] {
            std::fs::write(&files.config, content).unwrap();
            let mut aside = files.config.clone().into_os_string();
            aside.push(end);
            assert_eq!(lay(&files, RENDERED, false).unwrap(), Laid::Saved(aside.clone().into()));
            assert_eq!(text(Path::new(&aside)), content);
            assert_eq!(text(&files.config), RENDERED);
        }
        std::fs::remove_dir_all(&files.run).unwrap();
    }

    #[test]
    fn an_edited_file_is_left_and_shown_until_it_is_repaired() {
        let files = files("edited");
        let edited = RENDERED.replace("virtual_router_id 77", "virtual_router_id 78");
        std::fs::write(&files.config, &edited).unwrap();
        let Laid::Left(lines) = lay(&files, RENDERED, false).unwrap() else { panic!() };
        assert!(lines.contains(&"+     virtual_router_id 78".to_owned()), "{lines:?}");
        assert_eq!(text(&files.config), edited);
        assert_eq!(show(&files, RENDERED).unwrap().whose, Some(Whose::Edited));
        let Laid::Saved(aside) = repair(&files, RENDERED).unwrap() else { panic!() };
        assert_eq!(text(&aside), edited);
        assert_eq!(repair(&files, RENDERED).unwrap(), Laid::AlreadySo);
        std::fs::remove_dir_all(&files.run).unwrap();
    }
}
