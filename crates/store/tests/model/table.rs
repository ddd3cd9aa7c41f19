//! Numbers for things as they are met, and prints that stand for states.

use super::explore::Random;
use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::rc::Rc;

pub fn print<T: Hash>(of: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

/// 128 bits that depend on all bits of a number.
pub fn scatter(number: u64) -> u128 {
    let high = Random::seeded(number).next();
    let low = Random::seeded(!number ^ 0x5eed).next();
    u128::from(high) << 64 | u128::from(low)
}

/// A quick map for keys that are numbers of our own.
pub type Map<K, V> = HashMap<K, V, BuildHasherDefault<Quick>>;

/// Multiplies and rotates: enough for numbers that nobody chooses to collide.
#[derive(Clone, Copy, Default)]
pub struct Quick(u64);

impl Hasher for Quick {
    fn finish(&self) -> u64 {
        self.0 ^ self.0 >> 29
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word) ^ (chunk.len() as u64) << 56);
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.write_u64(u64::from(number));
    }

    fn write_u16(&mut self, number: u16) {
        self.write_u64(u64::from(number));
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    fn write_u32(&mut self, number: u32) {
        self.write_u64(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = (self.0.rotate_left(5) ^ number).wrapping_mul(0xf135_7aea_2e62_a9c5);
    }

    fn write_u128(&mut self, number: u128) {
        self.write_u64(number as u64);
    }
}

/// Numbers things as they are met.
pub struct Table<T> {
    numbers: Map<Rc<T>, u32>,
    things: Vec<Rc<T>>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Table { numbers: Map::default(), things: Vec::new() }
    }
}

impl<T: Hash + Eq> Table<T> {
    pub fn number(&mut self, thing: T) -> u32 {
        if let Some(number) = self.numbers.get(&thing) {
            return *number;
        }
        let number = self.things.len() as u32;
        let thing = Rc::new(thing);
        self.numbers.insert(Rc::clone(&thing), number);
        self.things.push(thing);
        number
    }

    pub fn count(&self) -> usize {
        self.things.len()
    }

    pub fn get(&self, number: u32) -> &T {
        &self.things[number as usize]
    }
}
