//! What was said before on each connection of a table: two bits for each, and none until the first conversation that has
//! to know.

use crate::protocol::Past;

/// Connections in one word.
const EACH: usize = 32;

/// The past of each connection, by its place in the table.
#[derive(Debug, Default)]
pub(super) struct Pasts(Vec<u64>);

impl Pasts {
    pub(super) fn get(&self, place: usize) -> Past {
        let word = self.0.get(place / EACH).copied().unwrap_or(0);
        match (word >> shift(place)) & 0b11 {
            0 => Past::New,
            1 => Past::Used,
            _ => Past::Failed,
        }
    }

    pub(super) fn set(&mut self, place: usize, past: Past) {
        let bits = match past {
            Past::New => 0,
            Past::Used => 1,
            Past::Failed => 2,
        };
        let word = place / EACH;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        self.0[word] &= !(0b11 << shift(place));
        self.0[word] |= bits << shift(place);
    }
}

const fn shift(place: usize) -> usize {
    place % EACH * 2
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn each_place_has_what_was_set_last(
            sets in proptest::collection::vec((0_usize..200, 0_u8..3), 0..99)
        ) {
            let mut pasts = Pasts::default();
            let mut model = HashMap::new();
            for (place, past) in sets {
                let past = [Past::New, Past::Used, Past::Failed][usize::from(past)];
                pasts.set(place, past);
                model.insert(place, past);
            }
            for place in 0..256 {
                prop_assert_eq!(pasts.get(place), model.get(&place).copied().unwrap_or_default());
            }
        }
    }
}
