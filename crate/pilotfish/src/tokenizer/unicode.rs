//! The general categories that pre-tokenizers distinguish, from the tables the regex crates carry anyway.

use std::sync::LazyLock;

use regex_syntax::hir::{Class, HirKind};

/// A set of general categories, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Categories(u8);

impl Categories {
    /// Lu and Lt.
    pub(super) const UPPER: Self = Self(1);
    /// Ll.
    pub(super) const LOWER: Self = Self(2);
    /// Lm and Lo: letters without case.
    pub(super) const CASELESS: Self = Self(4);
    /// M.
    pub(super) const MARK: Self = Self(8);
    /// N.
    pub(super) const NUMBER: Self = Self(16);
    /// P.
    pub(super) const PUNCTUATION: Self = Self(32);
    /// L.
    pub(super) const LETTER: Self = Self::UPPER.or(Self::LOWER).or(Self::CASELESS);

    /// The union.
    pub(super) const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the character is in one of them.
    pub(super) fn contain(self, c: char) -> bool {
        self.0 & TABLE.of(c).0 != 0
    }
}

struct Table {
    ascii: [Categories; 128],
    /// First and last character of each range, in order.
    ranges: Vec<(char, char, Categories)>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut ranges: Vec<_> = [
        (r"[\p{Lu}\p{Lt}]", Categories::UPPER),
        (r"\p{Ll}", Categories::LOWER),
        (r"[\p{Lm}\p{Lo}]", Categories::CASELESS),
        (r"\p{M}", Categories::MARK),
        (r"\p{N}", Categories::NUMBER),
        (r"\p{P}", Categories::PUNCTUATION),
    ]
    .into_iter()
    .flat_map(|(class, categories)| ranges_of(class).into_iter().map(move |(first, last)| (first, last, categories)))
    .collect();
    ranges.sort_unstable_by_key(|&(first, ..)| first);
    let ascii = std::array::from_fn(|byte| search(&ranges, char::from(byte as u8)));
    Table { ascii, ranges }
});

impl Table {
    fn of(&self, c: char) -> Categories {
        match self.ascii.get(c as usize) {
            Some(&categories) => categories,
            None => search(&self.ranges, c),
        }
    }
}

fn search(ranges: &[(char, char, Categories)], c: char) -> Categories {
    let after = ranges.partition_point(|&(first, ..)| first <= c);
    match after.checked_sub(1).and_then(|at| ranges.get(at)) {
        Some(&(_, last, categories)) if c <= last => categories,
        _ => Categories(0),
    }
}

/// The ranges of a class that is known to be one; a test sees to it that none is empty.
fn ranges_of(class: &str) -> Vec<(char, char)> {
    let Ok(hir) = regex_syntax::parse(class) else {
        return Vec::new();
    };
    match hir.kind() {
        HirKind::Class(Class::Unicode(class)) => class.iter().map(|r| (r.start(), r.end())).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_fall_into_their_categories() {
        for (c, category) in [
            ('A', Categories::UPPER),
            ('ǅ', Categories::UPPER),
            ('a', Categories::LOWER),
            ('ß', Categories::LOWER),
            ('ʰ', Categories::CASELESS),
            ('語', Categories::CASELESS),
            ('\u{301}', Categories::MARK),
            ('7', Categories::NUMBER),
            ('½', Categories::NUMBER),
            ('!', Categories::PUNCTUATION),
            ('。', Categories::PUNCTUATION),
            (' ', Categories(0)),
            ('+', Categories(0)),
            ('😁', Categories(0)),
        ] {
            assert_eq!(TABLE.of(c), category, "{c:?}");
        }
    }

    #[test]
    fn no_two_categories_share_a_character() {
        assert!(TABLE.ranges.windows(2).all(|pair| pair[0].1 < pair[1].0));
    }
}
