//! GPT-2's alphabet: every byte has a printable character, so that a vocabulary of texts can hold any bytes.
//!
//! Printable Latin-1 stands for itself; the other 68 bytes take the characters from U+0100 on, in their order.

/// The character that stands for `byte`.
pub(super) fn byte_to_char(byte: u8) -> char {
    let taken = u32::from(byte);
    let code = match byte {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => taken,
        0x00..=0x20 => 0x100 + taken,
        0x7f..=0xa0 => 0x121 + taken - 0x7f,
        0xad => 0x143,
    };
    // All codes are below U+0144, far from the surrogates.
    char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER)
}

/// The byte that `c` stands for, if it is of the alphabet.
pub(super) fn char_to_byte(c: char) -> Option<u8> {
    let code = u32::from(c);
    let byte = match code {
        0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff => code,
        0x100..=0x120 => code - 0x100,
        0x121..=0x142 => code - 0x121 + 0x7f,
        0x143 => 0xad,
        _ => return None,
    };
    u8::try_from(byte).ok()
}

/// The text in that alphabet.
pub(super) fn to_alphabet(text: &str) -> String {
    text.bytes().map(byte_to_char).collect()
}

/// The bytes that a token of that alphabet stands for; a name with other characters stands for itself.
pub(super) fn from_alphabet(name: &str) -> Vec<u8> {
    let bytes: Option<Vec<u8>> = name.chars().map(char_to_byte).collect();
    bytes.unwrap_or_else(|| name.as_bytes().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_own_character() {
        for byte in 0..=u8::MAX {
            assert_eq!(char_to_byte(byte_to_char(byte)), Some(byte));
        }
    }

    #[test]
    fn the_alphabet_is_gpt2s() {
        assert_eq!(to_alphabet(" a\n\u{a0}é"), "ĠaĊÂłÃ©");
        let of_the_crate = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        assert!((0..=u8::MAX).all(|byte| of_the_crate.contains(&byte_to_char(byte))));
    }
}
