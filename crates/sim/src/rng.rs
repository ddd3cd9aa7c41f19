//! The one source of chance: everything a run does follows from its seed.

use regent_store::splitmix::SplitMix;

/// [`SplitMix`], or what is likely.
#[derive(Clone, Debug)]
pub struct Rng {
    random: SplitMix,
    calm: bool,
}

impl Rng {
    /// The same seed gives the same numbers for ever.
    pub fn new(seed: u64) -> Rng {
        let mut rng = Rng { random: SplitMix(seed ^ 0x5851_f42d_4c95_7f2d), calm: false };
        rng.draw();
        rng
    }

    /// Everything takes its middle length and goes the likelier way: for stories, which then do not change when
    /// something else draws a number more. Names are still drawn.
    pub fn calm(seed: u64) -> Rng {
        Rng { calm: true, ..Rng::new(seed) }
    }

    /// Any number.
    pub fn draw(&mut self) -> u64 {
        self.random.draw()
    }

    /// A number below `end`, which is not 0.
    pub fn below(&mut self, end: u64) -> u64 {
        if self.calm { end / 2 } else { self.draw() % end }
    }

    /// A number from `low` to `high`, both included.
    pub fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// A number from `-most` to `most`.
    pub fn swing(&mut self, most: i64) -> i64 {
        self.below(2 * most as u64 + 1) as i64 - most
    }

    /// True this often in a million.
    pub fn chance(&mut self, ppm: u64) -> bool {
        if self.calm { ppm > 500_000 } else { ppm > 0 && self.below(1_000_000) < ppm }
    }

    /// True half of the time.
    pub fn coin(&mut self) -> bool {
        self.below(2) == 1
    }

    /// One of several.
    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence() {
        let draw = |seed| {
            let mut rng = Rng::new(seed);
            [rng.draw(), rng.below(10), rng.range(5, 7), rng.swing(3) as u64]
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn a_calm_one_takes_the_middle_and_still_draws_names() {
        let mut rng = Rng::calm(1);
        assert_eq!((rng.range(10, 20), rng.swing(5), rng.chance(30_000)), (15, 0, false));
        assert_ne!(rng.draw(), rng.draw());
    }
}
