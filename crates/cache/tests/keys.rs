//! Two requests meet in one entry only if they are the same, or spell the same question.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use brisk_cache::{Key, KeyHasher, Tenant, normalize};
use proptest::prelude::*;

/// Field names are fixed words of the caller, so the tests have a fixed choice as well.
const NAMES: [&str; 5] = ["user", "top_p", "u", "model", ""];

fn key(tenant: Tenant, version: u32, fields: &[(usize, Vec<u8>)]) -> Key {
    let mut hasher = KeyHasher::new(tenant, version);
    for (name, value) in fields {
        hasher.field(NAMES[*name], value);
    }
    hasher.finish()
}

fn check_distinct(a: &[(usize, &[u8])], b: &[(usize, &[u8])]) {
    let owned = |fields: &[(usize, &[u8])]| -> Vec<(usize, Vec<u8>)> {
        fields.iter().map(|(name, value)| (*name, value.to_vec())).collect()
    };
    let (a_key, b_key) = (key(Tenant::LOCAL, 1, &owned(a)), key(Tenant::LOCAL, 1, &owned(b)));
    assert!(a_key.slot != b_key.slot && a_key.exact != b_key.exact, "{a:?} and {b:?}");
}

#[test]
fn lengths_keep_fields_apart() {
    check_distinct(&[(0, b"b"), (1, b"1")], &[(0, b"btop_p: 1")]);
    check_distinct(&[(0, b"ab"), (1, b"c")], &[(0, b"a"), (1, b"bc")]);
    check_distinct(&[(0, b"")], &[]);
    check_distinct(&[(2, b"ser")], &[(0, b"")]);
    check_distinct(&[(4, b"x")], &[(4, b""), (4, b"x")]);
    for odd in [&b"a:b"[..], b"a\0b", b"a%3Ab", b"ab", b"a b"] {
        check_distinct(&[(3, odd)], &[(3, b"a"), (3, b"b")]);
    }
    check_distinct(&[(3, b"a:b")], &[(3, b"a%3Ab")]);
}

#[test]
fn the_two_digests_are_independent_and_spelling_moves_only_one() {
    let plain = support::key("what is Rust?");
    let spelled = support::key("What is  Rust?");
    assert_eq!(plain.slot, spelled.slot);
    assert_ne!(plain.exact, spelled.exact);
    assert_ne!(plain.slot, plain.exact);
    // A field that is its own normal form is the same as a plain field.
    let mut hasher = KeyHasher::new(Tenant::LOCAL, 1);
    hasher.field("question", b"what is Rust?");
    assert_eq!(hasher.finish(), plain);
    // What cannot be normalised stays apart from everything.
    assert_ne!(support::key("Add 1 and 2").slot, support::key("add 1 and 2").slot);
}

#[test]
fn long_fields_are_hashed_whole() {
    for len in [1000, 1015, 1016, 1017, 1023, 1024, 1025, 5000] {
        let value = vec![7; len];
        for place in [0, len / 2, len - 1] {
            let mut changed = value.clone();
            changed[place] ^= 1;
            check_distinct(&[(0, &value), (1, b"x")], &[(0, &changed), (1, b"x")]);
        }
        check_distinct(&[(0, &value), (1, b"x")], &[(0, &value), (1, b"y")]);
        check_distinct(&[(0, &value)], &[(0, &value[1..])]);
    }
}

fn fields() -> impl Strategy<Value = Vec<(usize, Vec<u8>)>> {
    prop::collection::vec((0..NAMES.len(), prop::collection::vec(any::<u8>(), 0..8)), 0..6)
}

proptest! {
    #[test]
    fn other_fields_are_another_key(a in fields(), b in fields()) {
        let (a_key, b_key) = (key(Tenant::LOCAL, 1, &a), key(Tenant::LOCAL, 1, &b));
        prop_assert_eq!(a == b, a_key.slot == b_key.slot);
        prop_assert_eq!(a == b, a_key.exact == b_key.exact);
    }

    #[test]
    fn any_change_of_one_field_is_another_key(
        fields in fields().prop_filter("a field", |fields| !fields.is_empty()),
        which: prop::sample::Index,
        bit in 0..8_u32,
    ) {
        let mut changed = fields.clone();
        let field = which.index(fields.len());
        match changed[field].1.last_mut() {
            Some(byte) => *byte ^= 1 << bit,
            None => changed[field].1.push(0),
        }
        let (before, after) = (key(Tenant::LOCAL, 1, &fields), key(Tenant::LOCAL, 1, &changed));
        prop_assert!(before.slot != after.slot && before.exact != after.exact);
    }

    #[test]
    fn tenants_and_versions_never_meet(fields in fields(), a: [u8; 32], b: [u8; 32], version in 0..4_u32) {
        let (a_key, b_key) = (key(Tenant::new(a), 1, &fields), key(Tenant::new(b), version, &fields));
        prop_assert_eq!(a == b && version == 1, a_key.slot == b_key.slot);
        prop_assert_eq!(a == b && version == 1, a_key.exact == b_key.exact);
    }

    #[test]
    fn a_normal_form_is_its_own_normal_form(text in prop_oneof![
        "\\PC{0,24}",
        // What the form changes, alone and in odd company.
        "(What|Is|¿|¡)?[aAe\u{301}é’' .?!;。？\u{37e}αςİıﬁｶ가\u{200d}\u{a0}-]{0,12}",
    ]) {
        if let Some(normal) = normalize(&text) {
            prop_assert_eq!(normalize(&normal), Some(normal));
        }
    }
}
