//! A second judge of sentiment: the lexicon of Pattern (De Smedt and Daelemans, JMLR 13, 2012), which people tagged adjective by
//! adjective, and its way of reading modifiers and negations. VADER's lexicon was rated elsewhere and by others, so that what pleases
//! VADER alone shows here. Exclamation marks and emoticons do not count.

use std::collections::HashMap;
use std::sync::LazyLock;

/// Words with polarity and intensity; the file says where they are from.
static LEXICON: LazyLock<HashMap<&str, Word>> = LazyLock::new(|| {
    let word = |line: &'static str| {
        let mut fields = line.split('\t');
        let (form, polarity, intensity) = (fields.next()?, fields.next()?, fields.next()?);
        let (polarity, intensity) = (polarity.parse().ok()?, intensity.parse().ok()?);
        Some((form, Word { polarity, intensity, adverb: fields.next().is_some() }))
    };
    include_str!("pattern.tsv").lines().filter_map(word).collect()
});

#[derive(Debug, Clone, Copy)]
struct Word {
    /// -1 to 1.
    polarity: f64,
    /// What the next word's polarity is multiplied with.
    intensity: f64,
    /// It modifies the next word.
    adverb: bool,
}

/// A known word with what stands before it.
#[derive(Debug)]
struct Assessed {
    polarity: f64,
    intensity: f64,
    negated: bool,
}

/// The mean polarity of the known words, -1 to 1; 0 where there is none.
pub(super) fn polarity(text: &str) -> f64 {
    let mut assessed: Vec<Assessed> = Vec::new();
    // The modifier, and whether there was a negation, that the next known word may belong to.
    let (mut modifier, mut negation): (Option<String>, bool) = (None, false);
    for token in tokens(text) {
        let negates = ["no", "not", "n't", "never"].contains(&token.as_str());
        let Some(word) = LEXICON.get(token.as_str()) else {
            // Both reach over small words: "not a good", "really is a good".
            if negates {
                negation = true;
            } else if negation && token.trim_matches('\'').chars().count() > 1 {
                negation = false;
            }
            if let (true, Some(_), Some(last)) =
                (negation, modifier.as_ref().filter(|word| word.ends_with("ly")), assessed.last_mut())
            {
                // "really not good"
                last.negated = true;
                negation = false;
            } else if modifier.is_some() && token.chars().count() > 2 {
                modifier = None;
            }
            continue;
        };
        let modified = modifier.take().is_some();
        match assessed.last_mut() {
            Some(last) if modified => {
                last.polarity = (word.polarity * last.intensity).clamp(-1.0, 1.0);
                last.intensity = word.intensity;
            }
            _ => assessed.push(Assessed { polarity: word.polarity, intensity: word.intensity, negated: false }),
        }
        if let (true, Some(last)) = (negation, assessed.last_mut()) {
            last.intensity = 1.0 / last.intensity;
            last.negated = true;
        }
        modifier = word.adverb.then_some(token);
        negation = negates;
    }
    // "not good" is slightly bad, "not bad" slightly good.
    let each = assessed.iter().map(|word| if word.negated { -0.5 * word.polarity } else { word.polarity });
    super::bootstrap::mean(each).unwrap_or(0.0)
}

/// Words in lower case, marks by themselves, `n't` apart.
fn tokens(text: &str) -> impl Iterator<Item = String> {
    let text = text.replace('’', "'").to_lowercase().replace("n't", " n't ");
    let mut tokens: Vec<String> = Vec::new();
    for piece in text.split_whitespace() {
        let inside = |c: char| c.is_alphanumeric() || c == '\'' || c == '-' || c == '*';
        let mut word = String::new();
        for c in piece.chars() {
            if inside(c) {
                word.push(c);
            } else {
                tokens.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
                tokens.push(c.to_string());
            }
        }
        tokens.extend((!word.is_empty()).then_some(word));
    }
    tokens.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polarities_are_those_of_textblob() {
        // textblob 0.20.1, `textblob.en.sentiment(text)[0]`, which is Pattern's own code.
        let expected = [
            ("What a wonderful, happy day.", 0.9),
            ("This is a horrible, sad disaster.", -0.75),
            ("The food was not good.", -0.35),
            ("It was not a very good film, and the acting was terrible.", -0.423_076_923_076_923_1),
            ("She was really not happy about it.", -0.4),
            ("He walked to the shop and bought bread.", 0.0),
            ("I felt extremely proud, and my mother was slightly worried.", 0.316_666_666_666_666_7),
            ("Never bad, always fresh; the staff were kind and the room was lovely.", 0.4375),
            ("She was wonderfully kind, but the weather was unfortunately awful.", -0.2),
            ("I seriously disliked the badly cooked fish.", -0.45),
            ("Honestly, it is a truly beautiful and not entirely hopeless place.", 0.483_333_333_333_333_34),
            ("The service was slow. No real problem, but no great joy.", 0.0),
        ];
        for (text, polarity_) in expected {
            // The lexicon's file has four digits.
            assert!((polarity(text) - polarity_).abs() < 2e-4, "{text}: {}", polarity(text));
        }
    }

    #[test]
    fn the_lexicon_is_read_whole() {
        assert_eq!(LEXICON.len(), 2844);
        assert!(LEXICON.values().all(|word| word.polarity.abs() <= 1.0 && word.intensity > 0.0));
        assert_eq!(polarity(""), 0.0);
    }
}
