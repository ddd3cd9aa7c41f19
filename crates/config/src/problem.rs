//! What is wrong with a configuration: the place, the mistake, the remedy.

use std::fmt;
use std::ops::Range;

/// One mistake at one place of the text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// The bytes of the text it is about; an empty range stands for the file as a whole.
    pub at: Range<usize>,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
    /// The line may hold a secret: it is not told, as the text goes to journals.
    pub secret: bool,
}

impl Problem {
    pub(super) fn new(
        at: Range<usize>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Problem {
        Problem { at, what: what.into(), remedy: remedy.into(), secret: false }
    }

    pub(super) fn secret(mut self) -> Problem {
        self.secret = true;
        self
    }
}

/// Everything that is wrong with one file, in the order of its lines.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct Problems {
    rendered: Vec<Rendered>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Rendered {
    place: String,
    what: String,
    source: Option<(String, usize, usize)>,
    remedy: String,
}

impl Problems {
    pub(super) fn new(file: &str, text: &str, mut problems: Vec<Problem>) -> Problems {
        problems.sort_by_key(|p| p.at.start);
        // A value that two readers need is told once.
        problems.dedup();
        Problems { rendered: problems.into_iter().map(|p| render(file, text, p)).collect() }
    }

    /// One mistake of the file as a whole.
    pub fn of_file(file: &str, what: &str, remedy: &str) -> Problems {
        let rendered =
            Rendered { place: file.into(), what: what.into(), source: None, remedy: remedy.into() };
        Problems { rendered: vec![rendered] }
    }

    /// How many there are; at least one.
    pub fn count(&self) -> usize {
        self.rendered.len()
    }
}

fn render(file: &str, text: &str, problem: Problem) -> Rendered {
    let start = problem.at.start.min(text.len());
    let line_start = text[..start].rfind('\n').map_or(0, |i| i + 1);
    let line = text[line_start..].lines().next().unwrap_or_default().trim_end();
    let number = text[..start].matches('\n').count() + 1;
    let before = text[line_start..start].chars().count();
    let marked = text.get(problem.at.clone()).unwrap_or_default();
    let width = marked.lines().next().unwrap_or_default().chars().count().max(1);
    let whole = problem.at.is_empty() && problem.at.start == 0;
    let place = format!("{file}:{number}:{}", before + 1);
    Rendered {
        place: if whole { file.into() } else { place },
        what: problem.what,
        source: (!whole && !problem.secret).then(|| (line.into(), before, width)),
        remedy: problem.remedy,
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.rendered.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            writeln!(f, "{}: {}", problem.place, problem.what)?;
            if let Some((line, before, width)) = &problem.source
                && !line.is_empty()
            {
                writeln!(f, "  | {line}")?;
                writeln!(f, "  | {}{}", " ".repeat(*before), "^".repeat(*width))?;
            }
            writeln!(f, "  what to do: {}", problem.remedy)?;
        }
        Ok(())
    }
}
