//! School grades that a text asks for, by formulas that look at different things: syllables, letters, characters. English.

use pilotfish_train::english::{syllables, words};

/// Counts of a text; at least one word.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Counts {
    sentences: f64,
    words: f64,
    /// Letters and digits.
    letters: f64,
    syllables: f64,
}

impl Counts {
    /// `None` where there is no word. A last sentence that is cut off counts as one.
    fn of(text: &str) -> Option<Self> {
        let sentence = |part: &&str| words(part).next().is_some();
        let sentences = text.split(['.', '!', '?', '\n']).filter(sentence).count();
        let count = words(text).count();
        (count > 0).then(|| Self {
            sentences: sentences as f64,
            words: count as f64,
            letters: words(text).flat_map(str::chars).filter(|c| c.is_alphanumeric()).count() as f64,
            syllables: words(text).map(syllables).sum::<usize>() as f64,
        })
    }
}

/// `0.39 words/sentence + 11.8 syllables/word - 15.59` (Kincaid and others, US Navy 1975).
pub(super) fn flesch_kincaid(text: &str) -> Option<f64> {
    let Counts { sentences, words, syllables, .. } = Counts::of(text)?;
    Some(0.39 * words / sentences + 11.8 * syllables / words - 15.59)
}

/// `5.88 letters/word - 29.6 sentences/word - 15.8` (Coleman and Liau, J. Applied Psychology 1975): no syllables are counted.
pub(super) fn coleman_liau(text: &str) -> Option<f64> {
    let Counts { sentences, words, letters, .. } = Counts::of(text)?;
    Some(5.88 * letters / words - 29.6 * sentences / words - 15.8)
}

/// `4.71 characters/word + 0.5 words/sentence - 21.43` (Smith and Senter, automated readability index, US Air Force 1967).
pub(super) fn automated_readability(text: &str) -> Option<f64> {
    let Counts { sentences, words, letters, .. } = Counts::of(text)?;
    Some(4.71 * letters / words + 0.5 * words / sentences - 21.43)
}

/// Mean letters of a word.
pub(super) fn word_length(text: &str) -> Option<f64> {
    let Counts { words, letters, .. } = Counts::of(text)?;
    Some(letters / words)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two sentences, 12 words, 41 letters; syllables 1 each but for `little` and `under`, with 2.
    const TEXT: &str = "The little cat sat on the mat. It slept under the bed!";

    #[track_caller]
    fn near(found: Option<f64>, expected: f64) {
        let found = found.expect("there are words");
        assert!((found - expected).abs() < 1e-9, "{found}, expected {expected}");
    }

    #[test]
    fn grades_are_those_of_the_formulas_by_hand() {
        let counts = Counts { sentences: 2.0, words: 12.0, letters: 41.0, syllables: 14.0 };
        assert_eq!(Counts::of(TEXT), Some(counts));
        near(flesch_kincaid(TEXT), 0.39 * 6.0 + 11.8 * 14.0 / 12.0 - 15.59);
        near(coleman_liau(TEXT), 5.88 * 41.0 / 12.0 - 29.6 * 2.0 / 12.0 - 15.8);
        near(automated_readability(TEXT), 4.71 * 41.0 / 12.0 + 3.0 - 21.43);
        near(word_length(TEXT), 41.0 / 12.0);
    }

    #[test]
    fn harder_texts_have_higher_grades() {
        let hard = "Institutional considerations necessitate multidimensional administrative deliberation";
        for grade in [flesch_kincaid, coleman_liau, automated_readability, word_length] {
            assert!(grade(hard) > grade(TEXT));
            assert_eq!(grade(" … \n"), None);
        }
    }
}
