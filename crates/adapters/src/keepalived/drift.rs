//! The file on disk beside what Regent would write: whose it is, whether somebody edited it, and where they differ.

use super::render::{DIGEST, HEADER};
use regent_core::fnv::fnv;

/// What a file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Whose {
    /// As Regent rendered it, with this or with other settings; nobody edited it.
    Rendered,
    /// Rendered by Regent, and edited since.
    Edited,
    /// Somebody else's.
    Foreign,
}

/// Reads the header back.
pub fn parse(on_disk: &str) -> Whose {
    let Some(rest) = on_disk.strip_prefix(HEADER) else {
        // Somebody may have edited the very header: its first line names us.
        let ours = on_disk.lines().next() == HEADER.lines().next();
        return if ours { Whose::Edited } else { Whose::Foreign };
    };
    let written = rest.strip_prefix(DIGEST).and_then(|rest| rest.split_once('\n'));
    match written {
        Some((hex, body)) if hex == format!("{:016x}", fnv(body.as_bytes())) => Whose::Rendered,
        Some(_) | None => Whose::Edited,
    }
}

/// Where the file differs from what is rendered, as lines with `-` (rendered, missing on disk), `+` (on disk only) and
/// two spaces (both); none if it does not differ.
pub fn drift(rendered: &str, on_disk: &str) -> Option<Vec<String>> {
    (rendered != on_disk).then(|| diff(rendered, on_disk))
}

/// Lines of context around a difference.
const AROUND: usize = 2;
/// A file is compared up to here; the configuration has some fifty lines.
const LINES_MAX: usize = 2000;

fn diff(wanted: &str, found: &str) -> Vec<String> {
    let wanted: Vec<&str> = wanted.lines().take(LINES_MAX).collect();
    let found: Vec<&str> = found.lines().take(LINES_MAX).collect();
    let all = aligned(&wanted, &found);
    let is_near = |at: usize| {
        let from = at.saturating_sub(AROUND);
        all[from..all.len().min(at + AROUND + 1)].iter().any(|(mark, _)| *mark != ' ')
    };
    let mut lines = Vec::new();
    let mut skipped = false;
    for (at, (mark, line)) in all.iter().enumerate() {
        if !is_near(at) {
            skipped = true;
            continue;
        }
        if std::mem::take(&mut skipped) {
            lines.push("  ...".to_owned());
        }
        lines.push(format!("{mark} {line}").trim_end().to_owned());
    }
    if lines.is_empty() {
        lines.push("+ (only the ends of lines differ)".to_owned());
    }
    lines
}

/// Both, line by line, by their longest common subsequence.
fn aligned<'a>(wanted: &[&'a str], found: &[&'a str]) -> Vec<(char, &'a str)> {
    let width = found.len() + 1;
    let mut common = vec![0u32; (wanted.len() + 1) * width];
    for w in (0..wanted.len()).rev() {
        for f in (0..found.len()).rev() {
            common[w * width + f] = if wanted[w] == found[f] {
                common[(w + 1) * width + f + 1] + 1
            } else {
                common[(w + 1) * width + f].max(common[w * width + f + 1])
            };
        }
    }
    let (mut w, mut f, mut all) = (0, 0, Vec::new());
    while w < wanted.len() || f < found.len() {
        if w < wanted.len() && f < found.len() && wanted[w] == found[f] {
            all.push((' ', wanted[w]));
            (w, f) = (w + 1, f + 1);
        } else if f == found.len()
            || (w < wanted.len() && common[(w + 1) * width + f] >= common[w * width + f + 1])
        {
            all.push(('-', wanted[w]));
            w += 1;
        } else {
            all.push(('+', found[f]));
            f += 1;
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    const RENDERED: &str = include_str!("../../testdata/keepalived/one.conf");

    #[test]
    fn a_file_as_rendered_is_known_and_has_no_drift() {
        assert_eq!(parse(RENDERED), Whose::Rendered);
        assert_eq!(drift(RENDERED, RENDERED), None);
    }

    #[test]
    fn an_edited_line_is_shown_with_what_stands_around_it() {
        let edited = RENDERED.replace("nopreempt", "preempt_delay 5");
        assert_eq!(parse(&edited), Whose::Edited);
        let lines = drift(RENDERED, &edited).unwrap();
        assert_eq!(
            lines,
            [
                "  ...",
                "  vrrp_instance regent {",
                "      state BACKUP",
                "-     nopreempt",
                "+     preempt_delay 5",
                "      priority 254",
                "      interface host0",
            ]
        );
    }

    #[test]
    fn a_comment_is_an_edit_too() {
        let edited = RENDERED.to_owned() + "# mine\n";
        assert_eq!(parse(&edited), Whose::Edited);
        assert_eq!(drift(RENDERED, &edited).unwrap().last().unwrap(), "+ # mine");
        let ends = RENDERED.trim_end();
        assert_eq!(drift(RENDERED, ends).unwrap(), ["+ (only the ends of lines differ)"]);
    }

    #[test]
    fn an_edited_header_is_still_ours_and_another_file_is_not() {
        let header = RENDERED.replacen("# `regent", "# `mine", 1);
        assert_eq!(parse(&header), Whose::Edited);
        assert_eq!(parse("! Configuration File for keepalived\n"), Whose::Foreign);
        assert_eq!(parse(""), Whose::Foreign);
    }
}
