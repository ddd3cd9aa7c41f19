//! The story of a run, as a person reads it, and its fingerprint.

/// One line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// When, in nanoseconds.
    pub at: u64,
    /// Who: `a`, `b`, `w`, or `-` for the world.
    pub who: &'static str,
    /// Of what kind: the code of an event, or an area.
    pub area: String,
    /// What.
    pub text: String,
}

impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Line { at, who, area, text } = self;
        write!(f, "{:>9.3} {who}  {area:<20} {text}", *at as f64 / 1e9)
    }
}

/// All lines, if they are wanted, and a hash of everything that happened either way.
#[derive(Clone, Debug)]
pub struct Log {
    /// Lines are kept.
    pub on: bool,
    /// Commands and inputs are kept as well.
    pub detail: bool,
    /// The lines.
    pub lines: Vec<Line>,
    hash: u64,
}

impl Log {
    /// Keeps nothing but the hash.
    pub fn quiet() -> Log {
        Log { on: false, detail: false, lines: Vec::new(), hash: 0xcbf2_9ce4_8422_2325 }
    }

    /// Keeps the story.
    pub fn story() -> Log {
        Log { on: true, ..Log::quiet() }
    }

    /// Keeps every command as well.
    pub fn detailed() -> Log {
        Log { detail: true, ..Log::story() }
    }

    /// Mixes a number into the fingerprint (FNV-1a by words).
    pub fn mix(&mut self, number: u64) {
        self.hash = (self.hash ^ number).wrapping_mul(0x0100_0000_01b3).rotate_left(17);
    }

    /// The fingerprint.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// Writes a line of the story.
    pub fn tell(&mut self, at: u64, who: &'static str, area: &str, text: impl FnOnce() -> String) {
        if self.on {
            self.lines.push(Line { at, who, area: area.to_string(), text: text() });
        }
    }

    /// Writes a line of the details.
    pub fn detail(
        &mut self,
        at: u64,
        who: &'static str,
        area: &str,
        text: impl FnOnce() -> String,
    ) {
        if self.detail {
            self.tell(at, who, area, text);
        }
    }
}
