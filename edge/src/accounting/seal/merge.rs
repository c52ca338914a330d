//! Two seals of one day: both are kept as evidence, and of each figure the smaller counts.

use super::Seal;
use crate::accounting::figures::{Class, Count, Row};
use std::collections::BTreeMap;
use verge_sync::id::SiteId;

/// Of each site and class the smaller figures; what only one of them has does not count.
///
/// Commutative, associative and idempotent, so that it does not matter which seal came first.
#[must_use]
pub fn smaller_rows(one: &[Row], other: &[Row]) -> Vec<Row> {
    let others: BTreeMap<(SiteId, Class), Count> = other
        .iter()
        .map(|row| ((row.site, row.class), row.count))
        .collect();
    let both = one.iter().filter_map(|row| {
        let count = row.count.smaller(*others.get(&(row.site, row.class))?);
        Some(Row { count, ..*row })
    });
    both.collect()
}

/// What counts of the seals that a node made of one day, and whether it contradicted itself: judged
/// by what they say, not by their bytes.
#[must_use]
pub fn smaller<'s>(seals: impl IntoIterator<Item = &'s Seal>) -> (Vec<Row>, bool) {
    let mut seals = seals.into_iter();
    let Some(first) = seals.next() else {
        return (Vec::new(), false);
    };
    let (mut rows, mut is_contradicted) = (first.rows.clone(), false);
    for seal in seals {
        if seal != first {
            is_contradicted = true;
            rows = smaller_rows(&rows, &seal.rows);
        }
    }
    (rows, is_contradicted)
}

#[cfg(test)]
mod tests {
    use super::super::sample::{row, seal};
    use super::*;
    use crate::attribution::cases::cases;
    use proptest::prelude::*;

    fn rows() -> impl Strategy<Value = Vec<Row>> {
        let figures = prop::collection::btree_map((0..6_u8, 0..3_u8), 1..9_u64, 0..12);
        figures.prop_map(|figures| {
            let rows = figures.into_iter();
            rows.map(|((site, class), requests)| {
                row(site, Class::from_code(class).unwrap(), requests)
            })
            .collect()
        })
    }

    #[test]
    fn the_same_seal_again_is_no_contradiction() {
        let one = seal();
        assert_eq!(smaller([&one, &one]), (one.rows.clone(), false));
        let mut other = one.clone();
        other.rows.remove(0);
        let expected = other.rows.clone();
        assert_eq!(smaller([&one, &other, &one]), (expected, true));
        assert_eq!(smaller([]), (Vec::new(), false));
    }

    proptest! {
        #![proptest_config(cases(1_000))]

        #[test]
        fn merging_is_commutative_associative_and_idempotent(a in rows(), b in rows(), c in rows()) {
            prop_assert_eq!(smaller_rows(&a, &b), smaller_rows(&b, &a));
            let left = smaller_rows(&smaller_rows(&a, &b), &c);
            prop_assert_eq!(left, smaller_rows(&a, &smaller_rows(&b, &c)));
            prop_assert_eq!(smaller_rows(&a, &a), a);
        }
    }
}
