//! Tests of the encoder and the readers. That the kernel takes the rules, and nft(8) shows them, is seen in
//! `tests/docker`, where the privilege for it is at hand.

use proptest::prelude::*;

use super::*;

#[test]
fn attributes_are_padded_and_found_again() {
    let mut bytes = Vec::new();
    let written = Attributes::new()
        .text(TABLE_NAME, "c1m")
        .number(2, 7)
        .nest(3, Attributes::new().raw(1, &[9]));
    Message::rules(NEW_TABLE, 0, 5, written).append_to(&mut bytes);
    assert_eq!(bytes.len() % 4, 0);
    let frame = Frames::of(&bytes).next().expect("a message").expect("fits");
    let (kind, sequence, body) = (frame.kind, frame.sequence, frame.body());
    assert_eq!((kind, sequence), (10 << 8, 5));
    let found = attributes(&body[4..]);
    assert_eq!(found.text(TABLE_NAME).as_deref(), Some("c1m"));
    assert_eq!(found.bytes(2), [0, 0, 0, 7]);
    assert_eq!(attributes(found.bytes(3)).bytes(1), [9]);
}

#[test]
fn a_rule_compares_source_and_destination_with_the_range_and_then_untracks() {
    let range = "198.18.0.0/15".parse().expect("a network");
    let rule = notrack("c1m", "output", range);
    let mut bytes = Vec::new();
    Message::rules(NEW_RULE, 0, 1, rule).append_to(&mut bytes);
    let frame = Frames::of(&bytes).next().expect("a message").expect("fits");
    let body = frame.body();
    let found = attributes(&body[4..]);
    let names: Vec<_> = nested(found.bytes(RULE_EXPRESSIONS))
        .filter_map(|expression| attributes(expression).text(EXPRESSION_NAME))
        .collect();
    assert_eq!(
        names,
        [
            "payload", "bitwise", "cmp", "payload", "bitwise", "cmp", "notrack"
        ]
    );
}

proptest! {
    #[test]
    fn no_bytes_make_the_readers_panic_or_run_for_ever(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = attributes(&bytes);
        prop_assert!(nested(&bytes).count() <= bytes.len());
    }
}
