//! Keys as people read them out to each other.

use verge_sync::digest::Digest;
use verge_sync::id::{ProviderId, RegionId};

const CONSONANTS: &[u8; 16] = b"bdfghjklmnprstvz";
const VOWELS: &[u8; 4] = b"aiou";
const WORD_COUNT: usize = 6;

/// Six words that only this key of this region has: 96 bits, spoken the same in many languages
/// (each word is 16 bits, written as Daniel Wilkerson's proquints are).
#[must_use]
pub fn six_words(region: &RegionId, provider: &ProviderId) -> String {
    let digest = Digest::derive("verge 1 words", &[region.as_bytes(), provider.as_bytes()]);
    let (pairs, _) = digest.as_bytes().as_chunks::<2>();
    let words: Vec<String> = pairs
        .iter()
        .take(WORD_COUNT)
        .map(|pair| word(*pair))
        .collect();
    words.join(" ")
}

fn word(bytes: [u8; 2]) -> String {
    let bits = u16::from_be_bytes(bytes);
    let letter = |table: &[u8], shift: u16, mask: u16| {
        let index = usize::from((bits >> shift) & mask);
        table.get(index).copied().map_or('?', char::from)
    };
    [
        letter(CONSONANTS, 12, 15),
        letter(VOWELS, 10, 3),
        letter(CONSONANTS, 6, 15),
        letter(VOWELS, 4, 3),
        letter(CONSONANTS, 0, 15),
    ]
    .iter()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_the_proposal() {
        // 127.0.0.1 and 63.84.220.193 of the proposal's own table.
        let rows = [
            ([127, 0], "lusab"),
            ([0, 1], "babad"),
            ([63, 84], "gutih"),
            ([220, 193], "tugad"),
        ];
        for (bytes, expected) in rows {
            assert_eq!(word(bytes), expected);
        }
    }

    #[test]
    fn another_key_has_other_words() {
        let region = RegionId::from_bytes([1; 32]);
        let words = six_words(&region, &ProviderId::from_bytes([2; 32]));
        assert_eq!(words.split(' ').count(), WORD_COUNT);
        assert_ne!(words, six_words(&region, &ProviderId::from_bytes([3; 32])));
        let elsewhere = RegionId::from_bytes([4; 32]);
        assert_ne!(
            words,
            six_words(&elsewhere, &ProviderId::from_bytes([2; 32]))
        );
    }
}
