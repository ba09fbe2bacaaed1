//! Normalizes text by SentencePiece's compiled character map.
//!
//! The map is a length in bytes (u32), a double array of that length (u32 units), and then
//! NUL-terminated replacements. In a unit, bits 0-7 and 31 are the label, bit 8 says that a value
//! follows, bits 10-30 are the offset, and bit 9 scales the offset by 256; a value is a byte offset
//! among the replacements. (The darts-clone format; all little-endian.)

use crate::Error;

// Real maps replace at most 18 characters by at most 18; longer ones are made to cost time or memory.
const MAX_PREFIX_BYTES: usize = 64;
const MAX_REPLACEMENT_BYTES: usize = 256;

/// Longest-prefix replacements of characters.
#[derive(Clone, Debug)]
pub(crate) struct Charsmap {
    units: Vec<u32>,
    replacements: Vec<u8>,
}

impl Charsmap {
    pub(crate) fn new(bytes: &[u8]) -> Result<Charsmap, Error> {
        let bad = |message| Error::BadCharsmap { num_bytes: bytes.len(), message };
        let (len, rest) =
            bytes.split_first_chunk::<4>().ok_or_else(|| bad("it has no length field"))?;
        let len = u32::from_le_bytes(*len) as usize;
        let (units, replacements) =
            rest.split_at_checked(len).ok_or_else(|| bad("its array is longer than the table"))?;
        let (units, partial) = units.as_chunks::<4>();
        if units.is_empty() || !partial.is_empty() {
            return Err(bad("its array is not a number of units"));
        }
        if std::str::from_utf8(replacements).is_err() {
            return Err(bad("its replacements are not UTF-8"));
        }
        if replacements.last().is_some_and(|&byte| byte != 0) {
            return Err(bad("its last replacement has no end"));
        }
        if replacements.split(|&byte| byte == 0).any(|part| part.len() > MAX_REPLACEMENT_BYTES) {
            return Err(bad("a replacement is longer than 256 bytes"));
        }
        let units = units.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
        Ok(Charsmap { units, replacements: replacements.to_vec() })
    }

    pub(crate) fn normalize(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            // A match that ends inside a character is a broken map; keep the character then.
            let found = self.longest_prefix(rest.as_bytes());
            match found.filter(|&(len, _)| rest.is_char_boundary(len)) {
                Some((len, replacement)) => {
                    out.push_str(replacement);
                    rest = &rest[len..];
                }
                None => {
                    out.push(c);
                    rest = &rest[c.len_utf8()..];
                }
            }
        }
        out
    }

    fn longest_prefix(&self, text: &[u8]) -> Option<(usize, &str)> {
        let offset = |unit: u32| ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize;
        let mut node = offset(*self.units.first()?);
        let mut found = None;
        for (at, &byte) in text.iter().take(MAX_PREFIX_BYTES).enumerate() {
            node ^= usize::from(byte);
            let Some(&unit) = self.units.get(node) else { break };
            if byte == 0 || unit & ((1 << 31) | 0xff) != u32::from(byte) {
                break;
            }
            node ^= offset(unit);
            if unit & (1 << 8) != 0 {
                let Some(&value) = self.units.get(node) else { break };
                let start = (value & !(1 << 31)) as usize;
                let Some(replacement) = self.replacement(start) else { break };
                found = Some((at + 1, replacement));
            }
        }
        found
    }

    fn replacement(&self, start: usize) -> Option<&str> {
        let bytes = self.replacements.get(start..)?;
        let end = bytes.iter().position(|&byte| byte == 0)?;
        std::str::from_utf8(&bytes[..end]).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // A map with one entry, `A` to `a`, laid out by hand: the root's children stand at 256 ^ byte.
    fn lower_a() -> Vec<u8> {
        let mut units = vec![0_u32; 1024];
        units[0] = 256 << 10;
        units[256 ^ 0x41] = 0x41 | 1 << 8 | (512 << 10);
        units[256 ^ 0x41 ^ 512] = 1 << 31;
        let mut bytes = 4096_u32.to_le_bytes().to_vec();
        bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
        bytes.extend(b"a\0");
        bytes
    }

    #[test]
    fn listed_prefixes_are_replaced_and_the_rest_stays() {
        let map = Charsmap::new(&lower_a()).unwrap();
        assert_eq!(map.normalize("ABÄA\0"), "aBÄa\0");
    }

    #[test]
    fn a_broken_table_is_refused_or_harmless() {
        for (bytes, want) in [
            (vec![1, 2], "no length"),
            (vec![8, 0, 0, 0, 1, 1, 1, 1], "longer"),
            (vec![3, 0, 0, 0, 1, 1, 1], "number of units"),
            (vec![4, 0, 0, 0, 1, 1, 1, 1, b'a'], "no end"),
            (vec![4, 0, 0, 0, 1, 1, 1, 1, 0xff, 0], "UTF-8"),
            ([&[4, 0, 0, 0, 1, 1, 1, 1], [b'a'; 257].as_slice(), &[0]].concat(), "256 bytes"),
        ] {
            let error = Charsmap::new(&bytes).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
        // `A` leads back to itself: the longest prefix ends at the bound.
        let mut cycle = lower_a();
        cycle[4 + 4 * (256 ^ 0x41)..][..4]
            .copy_from_slice(&(0x41_u32 | 1 << 8 | (0x41 << 10)).to_le_bytes());
        cycle[4 + 4 * 256..][..4].copy_from_slice(&(1_u32 << 31).to_le_bytes());
        assert_eq!(Charsmap::new(&cycle).unwrap().normalize(&"A".repeat(640)), "a".repeat(10));
        // Every unit at random: it must end and keep to its bounds.
        let mut state = 1_u32;
        let mut bytes = 4096_u32.to_le_bytes().to_vec();
        for _ in 0..1024 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            bytes.extend(state.to_le_bytes());
        }
        bytes.extend(b"x\0");
        let text = "The quick brown fox, naïve and 東京";
        assert!(Charsmap::new(&bytes).unwrap().normalize(text).len() <= 2 * text.len());
    }
}
