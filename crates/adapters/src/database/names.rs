//! Names for what is kept: dated, and each of them used once.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// This path, or the first of `-1`, `-2`, ... that nobody has yet: two things may be kept within one second.
pub(crate) fn unused(path: &Path) -> PathBuf {
    let numbered = |n: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!("-{n}"));
        PathBuf::from(name)
    };
    let all = std::iter::once(path.to_path_buf()).chain((1..).map(numbered));
    let free = |path: &PathBuf| path.symlink_metadata().is_err();
    all.into_iter().find(free).unwrap_or_else(|| path.to_path_buf())
}

/// A moment as part of a name: `20261122T062919Z`.
pub(crate) fn stamp(moment: SystemTime) -> String {
    let seconds = moment.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days to year, month, day of the Gregorian calendar, counted from 1 March 0000 in eras of 400 years.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_kept_twice_within_a_second_has_two_names() {
        let root = std::env::temp_dir().join(format!("unused-{}", std::process::id()));
        let (first, names) = (root.join("a"), ["a", "a-1", "a-2"]);
        for name in names {
            assert_eq!(unused(&first), root.join(name));
            std::fs::create_dir_all(root.join(name)).expect("made");
        }
        std::fs::remove_dir_all(root).expect("removed");
    }

    #[test]
    fn stamps_are_dates() {
        let at = |seconds| stamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "19700101T000000Z");
        assert_eq!(at(951_782_400), "20000229T000000Z");
        assert_eq!(at(1_795_328_959), "20261122T062919Z");
    }
}
