//! The letters in which byte-level vocabularies write bytes.
//!
//! GPT-2's rule: a printable Latin-1 byte is its own character, and the other 68 are U+0100 onwards.

/// The byte a letter of the alphabet stands for.
pub(crate) fn byte_of(letter: char) -> Option<u8> {
    let code = u32::from(letter);
    match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => u8::try_from(code).ok(),
        // 0x00-0x20, then 0x7f-0xa0, then 0xad.
        0x100..=0x120 => u8::try_from(code - 0x100).ok(),
        0x121..=0x142 => u8::try_from(code - 0x121 + 0x7f).ok(),
        0x143 => Some(0xad),
        _ => None,
    }
}

/// The bytes a piece stands for; a piece with any other letter stands for itself.
pub(crate) fn bytes_of(piece: &str, out: &mut Vec<u8>) {
    out.clear();
    for letter in piece.chars() {
        match byte_of(letter) {
            Some(byte) => out.push(byte),
            None => {
                out.clear();
                out.extend_from_slice(piece.as_bytes());
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_byte_has_one_letter() {
        let bytes: BTreeSet<u8> = ('\0'..='\u{200}').filter_map(byte_of).collect();
        assert_eq!(bytes.len(), 256);
        assert_eq!(('\0'..='\u{200}').filter(|&c| byte_of(c).is_some()).count(), 256);
        for (letter, byte) in [('Ġ', b' '), ('Ċ', b'\n'), ('ł', 0xa0), ('Ń', 0xad), ('Ā', 0)] {
            assert_eq!(byte_of(letter), Some(byte), "{letter}");
        }
    }
}
