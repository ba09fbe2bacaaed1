//! What blocks look like in each type of store, and the queries that go with them.

#![allow(clippy::inline_always, reason = "a body takes on the features of its caller")]

use super::tile::{larger, reduce};
use crate::{
    KvStore,
    kv_store::{
        F16Block,
        q8_0::{self, GROUP, MAX_CODE},
    },
};

/// How keys and values are stored.
pub(super) trait Format {
    /// What a column's query has for one row of keys.
    type Query: Copy + Default + 'static;

    /// Keys and values of one block, layer and head.
    type Block<'a>: Copy;

    /// How many dimensions one row of keys has.
    const ROW_LEN: usize;

    fn block(store: &KvStore, layer: usize, block: usize, head: usize) -> Self::Block<'_>;

    /// `ROW_LEN` numbers of a query, fewer at its end, times `scale`.
    fn query(row: &[f32], scale: f32) -> Self::Query;

    /// The queries in the memory that is kept between items.
    fn queries(queries: &mut Queries) -> &mut Vec<Self::Query>;
}

/// The queries of an item's columns, per tile `(rows of keys, columns)`.
#[derive(Default)]
pub(super) struct Queries {
    f16: Vec<f32>,
    q8_0: Vec<QueryGroup>,
}

/// Numbers of 16 bits, multiplied with queries in f32.
pub(super) struct F16;

impl Format for F16 {
    type Query = f32;
    type Block<'a> = F16Block<'a>;

    const ROW_LEN: usize = 1;

    fn block(store: &KvStore, layer: usize, block: usize, head: usize) -> F16Block<'_> {
        store.f16(layer, block, head)
    }

    #[inline(always)]
    fn query(row: &[f32], scale: f32) -> f32 {
        row[0] * scale
    }

    fn queries(queries: &mut Queries) -> &mut Vec<f32> {
        &mut queries.f16
    }
}

/// Codes of 8 bits, multiplied with queries that are rounded to codes too.
pub(super) struct Q8;

/// 32 numbers of a query as codes with a scale.
#[derive(Clone, Copy, Default)]
pub(super) struct QueryGroup {
    /// Four signed codes each, the first in the lowest byte.
    pub(super) codes: [i32; GROUP / 4],
    /// What a code of one stands for.
    pub(super) scale: f32,
    /// What a sum of products of these codes with stored key codes begins at: it takes back the 128
    /// that are added to those.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "only vectors need it"))]
    pub(super) start: i32,
}

impl Format for Q8 {
    type Query = QueryGroup;
    type Block<'a> = q8_0::Block<'a>;

    const ROW_LEN: usize = GROUP;

    fn block(store: &KvStore, layer: usize, block: usize, head: usize) -> q8_0::Block<'_> {
        store.q8_0(layer, block, head)
    }

    #[inline(always)]
    fn query(row: &[f32], scale: f32) -> QueryGroup {
        let mut values = [0.0; GROUP];
        values[..row.len()].copy_from_slice(row);
        let largest = reduce(values.map(f32::abs), larger);
        let inverse = if largest > q8_0::NEGLIGIBLE { MAX_CODE / largest } else { 0.0 };
        // What is no number gets some code like any other.
        let codes = values.map(|value| i32::from(q8_0::round(value * inverse) as i8));
        let words = codes.as_chunks::<4>().0.iter();
        let mut group = QueryGroup {
            scale: largest / MAX_CODE * scale,
            start: -codes.iter().sum::<i32>() * i32::from(q8_0::KEY_ZERO),
            ..QueryGroup::default()
        };
        for (word, codes) in group.codes.iter_mut().zip(words) {
            *word = codes.iter().rev().fold(0, |word, code| word << 8 | code & 0xFF);
        }
        group
    }

    fn queries(queries: &mut Queries) -> &mut Vec<QueryGroup> {
        &mut queries.q8_0
    }
}

/// The weights of a block's tokens times the scales of their values, as codes from 0 to 255. This is
/// the largest.
pub(super) const MAX_WEIGHT_CODE: f32 = 255.0;
