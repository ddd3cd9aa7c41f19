//! Links between hosts: one-way cuts, loss, late and doubled messages, no order.

use crate::rng::Rng;

/// Places on the network: the three hosts, and the clients.
pub const PLACES: usize = 4;
/// Where the clients are.
pub const CLIENTS: usize = 3;

/// All links, each way apart.
#[derive(Clone, Debug)]
pub struct Net {
    cut: [[bool; PLACES]; PLACES],
    /// How often a message is lost, in a million.
    pub loss: u64,
    /// How often it comes twice.
    pub double: u64,
    /// How often it is late by up to [`Net::late_max`].
    pub late: u64,
    /// The longest delay.
    pub late_max: u64,
    /// The usual delay, least and most.
    pub delay: (u64, u64),
}

impl Net {
    /// A quiet LAN.
    pub fn new() -> Net {
        Net {
            cut: [[false; PLACES]; PLACES],
            loss: 0,
            double: 0,
            late: 0,
            late_max: 0,
            delay: (100_000, 400_000),
        }
    }

    /// Messages from `from` do not reach `to`.
    pub fn set_cut(&mut self, from: usize, to: usize, cut: bool) {
        if from != to {
            self.cut[from][to] = cut;
        }
    }

    /// Everything is whole again.
    pub fn heal(&mut self) {
        *self = Net { delay: self.delay, ..Net::new() };
    }

    /// Can a message go this way?
    pub fn passes(&self, from: usize, to: usize) -> bool {
        !self.cut[from][to]
    }

    /// Can both hear each other?
    pub fn is_whole(&self, one: usize, other: usize) -> bool {
        self.passes(one, other) && self.passes(other, one)
    }

    /// After which delays a message arrives: none if it is lost, two if it is doubled.
    pub fn fate(&self, from: usize, to: usize, rng: &mut Rng) -> [Option<u64>; 2] {
        if from == to {
            return [Some(rng.range(2_000, 20_000)), None];
        }
        if !self.passes(from, to) || rng.chance(self.loss) {
            return [None, None];
        }
        let first = self.delay(rng);
        let second = if rng.chance(self.double) { Some(self.delay(rng)) } else { None };
        [Some(first), second]
    }

    /// One usual delay.
    pub fn delay(&self, rng: &mut Rng) -> u64 {
        let delay = rng.range(self.delay.0, self.delay.1);
        if rng.chance(self.late) { delay + rng.below(self.late_max + 1) } else { delay }
    }
}

impl Default for Net {
    fn default() -> Net {
        Net::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_one_way() {
        let mut net = Net::new();
        let mut rng = Rng::new(1);
        net.set_cut(0, 1, true);
        assert_eq!(net.fate(0, 1, &mut rng), [None, None]);
        assert!(net.fate(1, 0, &mut rng)[0].is_some());
        assert!(!net.is_whole(0, 1));
        net.heal();
        assert!(net.is_whole(0, 1));
    }
}
