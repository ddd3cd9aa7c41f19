//! The token on the shared data: two hosts that read the same random word see the same directory. An equal path is no
//! proof of that.

use crate::random;
use regent_adapters::stack::{make_token, read_token};
use regent_config::stack::Stack;
use std::path::Path;
use std::time::Duration;

/// A file system that does not answer for this long is not usable now.
const PATIENCE: Duration = Duration::from_secs(10);

/// The token that this host reads; with `create` it is made if there is none.
pub(crate) async fn token(stack: &Stack, create: bool) -> Result<String, String> {
    let (data, path) = (stack.data.clone(), stack.token());
    let shown = data.display().to_string();
    // A network file system that hangs holds this thread, and nobody else.
    let read = tokio::task::spawn_blocking(move || look(&data, &path, create));
    match tokio::time::timeout(PATIENCE, read).await {
        Ok(Ok(token)) => token,
        Ok(Err(_)) => Err("the thread that read the token ended".into()),
        Err(_) => Err(format!("{shown} does not answer for {} s", PATIENCE.as_secs())),
    }
}

/// Are the shared data where no other host can see them before this one is active?
pub(crate) fn is_mounted_by_us(stack: &Stack) -> bool {
    stack.mounts.iter().any(|mount| stack.data.starts_with(&mount.on))
}

fn look(data: &Path, path: &Path, create: bool) -> Result<String, String> {
    let told = |e: std::io::Error| format!("failed to use {}: {e}", path.display());
    if !data.is_dir() {
        return Err(format!("{} is no directory here", data.display()));
    }
    let found = read_token(data).map_err(told)?;
    let token = match found {
        Some(token) => token,
        None if create => {
            let random = format!("{:032x}", random::draw().map_err(told)?);
            make_token(data, &random).map_err(told)?;
            // What another host reads is what reached the file system.
            let back = read_token(data).map_err(told)?;
            back.ok_or_else(|| format!("{} does not keep what is written", path.display()))?
        }
        None => return Err(format!("{} is not there", path.display())),
    };
    if token.len() != 32 || !token.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(format!("{} has no token in it: move it away", path.display()));
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_token_is_made_once_and_read_back() {
        let dir = Scratch::new("token");
        let path = dir.path().join(".regent/token");
        let none = look(dir.path(), &path, false).unwrap_err();
        assert!(none.ends_with("is not there"), "{none}");
        let made = look(dir.path(), &path, true).unwrap();
        assert_eq!(made.len(), 32);
        assert_eq!(look(dir.path(), &path, true).unwrap(), made);
        assert_eq!(look(dir.path(), &path, false).unwrap(), made);
    }

    #[test]
    fn what_is_no_token_is_not_taken_for_one_and_not_overwritten() {
        let dir = Scratch::new("token-broken");
        let path = dir.path().join(".regent/token");
        std::fs::create_dir(dir.path().join(".regent")).unwrap();
        std::fs::write(&path, "something else\n").unwrap();
        let told = look(dir.path(), &path, true).unwrap_err();
        assert!(told.contains("move it away"), "{told}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "something else\n");
        let gone = look(&dir.path().join("none"), &path, true).unwrap_err();
        assert!(gone.contains("is no directory here"), "{gone}");
    }
}
