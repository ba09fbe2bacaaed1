//! Attention as it is defined, one column after the other; and the products of a tile in plain
//! code, for processors whose vectors the compiler reaches by itself.

#![allow(clippy::inline_always, reason = "a body takes on the features of its caller")]

use half::f16;

use super::{
    ColumnWork, Emit,
    tile::{Lines, Products, larger, reduce},
};
use crate::{BLOCK_SIZE, kv_store::LINE};

/// The reference: all scores, their softmax, the weighted sum of values.
pub(super) fn attend(work: &ColumnWork<'_>, emit: Emit<'_>) {
    let head_dim = work.heads.head_dim;
    let mut scores = Vec::new();
    let mut result = vec![0.0; head_dim];
    for column in work.columns.clone() {
        let query = &work.q[work.place(column)];
        let visible = work.visible(column);

        scores.clear();
        for position in visible.clone() {
            let (keys, _) = block_of(work, position);
            let offset = position % BLOCK_SIZE;
            let dot: f32 = query.iter().zip(keys).map(|(q, line)| q * line[offset].to_f32()).sum();
            let score = dot * work.spec.scale;
            scores.push(work.spec.softcap.map_or(score, |cap| cap * (score / cap).tanh()));
        }

        let largest = scores.iter().copied().fold(f32::MIN, f32::max);
        let mut sum = 0.0;
        result.fill(0.0);
        for (position, score) in visible.zip(&scores) {
            let weight = (score - largest).exp();
            sum += weight;
            let (_, values) = block_of(work, position);
            let lines_per_token = head_dim.div_ceil(LINE);
            let lines = &values[position % BLOCK_SIZE * lines_per_token..][..lines_per_token];
            for (result, value) in result.iter_mut().zip(lines.as_flattened()) {
                *result += weight * value.to_f32();
            }
        }
        result.iter_mut().for_each(|result| *result /= sum);
        emit(column, &result);
    }
}

fn block_of<'a>(work: &ColumnWork<'a>, position: usize) -> (&'a [[f16; LINE]], &'a [[f16; LINE]]) {
    let block = work.sequence.block_table[position / BLOCK_SIZE];
    work.store.keys_and_values(work.layer, block as usize, work.kv_head)
}

/// The products in a form that the compiler vectorizes.
#[derive(Clone, Copy)]
pub(super) struct Plain;

impl Products for Plain {
    const MAX_COLUMNS: usize = 4;

    #[inline(always)]
    fn scores<const N: usize>(self, q: &[[f32; N]], keys: Lines<'_>, out: &mut [[f32; LINE]; N]) {
        for half in 0..2 {
            let mut sums = [[0.0_f32; LINE / 2]; N];
            for (q, line) in q.iter().zip(keys.lines) {
                let line = to_f32(&line.as_chunks::<{ LINE / 2 }>().0[half]);
                for (sums, q) in sums.iter_mut().zip(q) {
                    for (sum, key) in sums.iter_mut().zip(&line) {
                        *sum = q.mul_add(*key, *sum);
                    }
                }
            }
            for (out, sums) in out.iter_mut().zip(&sums) {
                out.as_chunks_mut::<{ LINE / 2 }>().0[half] = *sums;
            }
        }
    }

    #[inline(always)]
    fn add_values<const N: usize>(
        self,
        weights: &[[f32; LINE]; N],
        values: Lines<'_>,
        sums: &mut [[f32; LINE]],
    ) {
        let lines_per_token = sums.len() / N;
        for index in 0..2 * lines_per_token {
            let (line, half) = (index / 2, index % 2);
            let mut group: [[f32; LINE / 2]; N] = std::array::from_fn(|column| {
                sums[column * lines_per_token + line].as_chunks::<{ LINE / 2 }>().0[half]
            });
            for (token, values) in values.lines.chunks_exact(lines_per_token).enumerate() {
                let values = to_f32(&values[line].as_chunks::<{ LINE / 2 }>().0[half]);
                for (group, weights) in group.iter_mut().zip(weights) {
                    for (sum, value) in group.iter_mut().zip(&values) {
                        *sum = weights[token].mul_add(*value, *sum);
                    }
                }
            }
            for (column, group) in group.iter().enumerate() {
                let line = &mut sums[column * lines_per_token + line];
                line.as_chunks_mut::<{ LINE / 2 }>().0[half] = *group;
            }
        }
    }

    #[inline(always)]
    fn largest(self, line: &[f32; LINE]) -> f32 {
        reduce(*line, larger)
    }
}

/// Widens finite numbers: the exponent is moved by a product with 2^112, which is exact and turns
/// the small numbers without a leading one into ordinary ones.
#[inline(always)]
fn to_f32<const N: usize>(values: &[f16; N]) -> [f32; N] {
    const MOVE_EXPONENT: f32 = f32::from_bits((112 + 127) << 23);
    std::array::from_fn(|i| {
        let bits = u32::from(values[i].to_bits());
        let magnitude = f32::from_bits((bits & 0x7FFF) << 13) * MOVE_EXPONENT;
        f32::from_bits(magnitude.to_bits() | (bits & 0x8000) << 16)
    })
}
