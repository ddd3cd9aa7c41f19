//! FNV-1a, 64 bits: names bytes the same way in every release, which the standard library's hasher does not promise. It
//! guards against a mistake, not against an enemy.

/// The digest of what was added so far.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// Adds these bytes.
    pub fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// The digest.
    pub fn digest(self) -> u64 {
        self.0
    }
}

/// The digest of these bytes.
pub fn fnv(bytes: &[u8]) -> u64 {
    let mut fnv = Fnv::default();
    fnv.add(bytes);
    fnv.digest()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_its_authors() {
        assert_eq!(fnv(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn parts_make_the_digest_of_the_whole() {
        let mut parts = Fnv::default();
        parts.add(b"foo");
        parts.add(b"bar");
        assert_eq!(parts.digest(), fnv(b"foobar"));
    }
}
