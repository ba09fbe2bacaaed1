//! Attention as it is defined, one column after the other; and the products of a tile in plain
//! code, for processors whose vectors the compiler reaches by itself.

#![allow(clippy::inline_always, reason = "a body takes on the features of its caller")]

use half::f16;

use super::{
    ColumnWork, Emit,
    formats::{F16, MAX_WEIGHT_CODE, Q8, QueryGroup},
    tile::{Line, Pair, Products, larger, reduce},
};
use crate::{
    BLOCK_SIZE,
    kv_store::{
        F16Block, LINE,
        q8_0::{self, Block, CODE_LINES, GROUP, GROUP_LINES, KEY_ZERO, NEGLIGIBLE},
    },
};

/// The reference: all scores, their softmax, the weighted sum of values, all in f32 whatever keys
/// and values are stored as. It knows no parts.
pub(super) fn attend(work: &ColumnWork<'_>, emit: Emit<'_>) {
    let Emit::Results(emit) = emit else { unreachable!("spans are not shared out at this level") };
    let head_dim = work.heads.head_dim;
    let mut scores = Vec::new();
    let (mut key, mut value) = (vec![0.0; head_dim], vec![0.0; head_dim]);
    let mut result = vec![0.0; head_dim];
    for column in work.columns.clone() {
        let query = &work.q[work.place(column)];
        let visible = work.view.positions(column);

        scores.clear();
        for position in visible.clone() {
            read(work, position, &mut key, &mut value);
            let dot: f32 = query.iter().zip(&key).map(|(q, key)| q * key).sum();
            let score = dot * work.spec.scale;
            scores.push(work.spec.softcap.map_or(score, |cap| cap * (score / cap).tanh()));
        }

        let largest = scores.iter().copied().fold(f32::MIN, f32::max);
        let mut sum = 0.0;
        result.fill(0.0);
        for (position, score) in visible.zip(&scores) {
            let weight = (score - largest).exp();
            sum += weight;
            read(work, position, &mut key, &mut value);
            for (result, value) in result.iter_mut().zip(&value) {
                *result += weight * value;
            }
        }
        result.iter_mut().for_each(|result| *result /= sum);
        emit(column, &result);
    }
}

fn read(work: &ColumnWork<'_>, position: usize, key: &mut [f32], value: &mut [f32]) {
    let block = work.sequence.block_table[position / BLOCK_SIZE] as usize;
    let slot = block * BLOCK_SIZE + position % BLOCK_SIZE;
    work.store.read(work.layer, slot, work.kv_head, key, value);
}

/// The products with f16 in a form that the compiler vectorizes.
#[derive(Clone, Copy)]
pub(super) struct PlainF16;

impl Products for PlainF16 {
    type Format = F16;

    const MAX_COLUMNS: usize = 4;

    #[inline(always)]
    fn scores<const N: usize>(self, q: &[[f32; N]], pair: Pair<F16Block<'_>>, out: &mut [Line; N]) {
        for half in 0..2 {
            let mut sums = [[0.0_f32; LINE / 2]; N];
            for (q, line) in q.iter().zip(pair.block.keys) {
                let line = to_f32(&line.as_chunks::<{ LINE / 2 }>().0[half]);
                for (sums, q) in sums.iter_mut().zip(q) {
                    for (sum, key) in sums.iter_mut().zip(&line) {
                        *sum = q.mul_add(*key, *sum);
                    }
                }
            }
            for (out, sums) in out.iter_mut().zip(&sums) {
                out.0.as_chunks_mut::<{ LINE / 2 }>().0[half] = *sums;
            }
        }
    }

    #[inline(always)]
    fn add_values<const N: usize>(
        self,
        factors: &[f32; N],
        weights: &[Line; N],
        pair: Pair<F16Block<'_>>,
        sums: &mut [Line],
    ) {
        let lines_per_token = sums.len() / N;
        for index in 0..2 * lines_per_token {
            let (line, half) = (index / 2, index % 2);
            let mut group: [[f32; LINE / 2]; N] = std::array::from_fn(|column| {
                sums[column * lines_per_token + line].0.as_chunks::<{ LINE / 2 }>().0[half]
                    .map(|sum| sum * factors[column])
            });
            for (token, values) in pair.block.values.chunks_exact(lines_per_token).enumerate() {
                let values = to_f32(&values[line].as_chunks::<{ LINE / 2 }>().0[half]);
                for (group, weights) in group.iter_mut().zip(weights) {
                    for (sum, value) in group.iter_mut().zip(&values) {
                        *sum = weights.0[token].mul_add(*value, *sum);
                    }
                }
            }
            for (column, group) in group.iter().enumerate() {
                let line = &mut sums[column * lines_per_token + line];
                line.0.as_chunks_mut::<{ LINE / 2 }>().0[half] = *group;
            }
        }
    }

    #[inline(always)]
    fn largest(self, line: &[f32; LINE]) -> f32 {
        reduce(*line, larger)
    }
}

/// The products with codes in plain code: the same integers and the same roundings as with vectors.
#[derive(Clone, Copy)]
pub(super) struct PlainQ8;

impl Products for PlainQ8 {
    type Format = Q8;

    const MAX_COLUMNS: usize = 4;

    #[inline(always)]
    fn scores<const N: usize>(
        self,
        q: &[[QueryGroup; N]],
        pair: Pair<Block<'_>>,
        out: &mut [Line; N],
    ) {
        *out = [Line::ZERO; N];
        for (groups, lines) in q.iter().zip(pair.block.keys.chunks_exact(GROUP_LINES)) {
            let scales = widen_scales(&lines[0]);
            let words = lines[1..].as_flattened().as_chunks::<4>().0.as_chunks::<GROUP>().0;
            for (out, query) in out.iter_mut().zip(groups) {
                let mut dots = [0_i32; LINE];
                for (words, codes) in words.iter().zip(query.codes) {
                    let codes = codes.to_le_bytes();
                    for (dot, word) in dots.iter_mut().zip(words) {
                        for (key, code) in word.iter().zip(codes) {
                            let key = i32::from(*key) - i32::from(KEY_ZERO);
                            *dot += key * i32::from(code as i8);
                        }
                    }
                }
                for ((out, dot), scale) in out.0.iter_mut().zip(dots).zip(scales) {
                    *out = (dot as f32).mul_add(scale * query.scale, *out);
                }
            }
        }
    }

    #[inline(always)]
    fn add_values<const N: usize>(
        self,
        factors: &[f32; N],
        weights: &[Line; N],
        pair: Pair<Block<'_>>,
        sums: &mut [Line],
    ) {
        let scales = widen_scales(&pair.block.values[0]);
        let groups = pair.block.values[1..].chunks_exact(CODE_LINES);
        let lines_per_value = sums.len() / N;
        let columns = factors.iter().zip(weights).zip(sums.chunks_exact_mut(lines_per_value));
        for ((factor, weights), sums) in columns {
            let weights: [f32; LINE] = std::array::from_fn(|t| weights.0[t] * scales[t]);
            let largest = self.largest(&weights);
            let inverse = if largest > NEGLIGIBLE { MAX_WEIGHT_CODE / largest } else { 0.0 };
            let scale = largest / MAX_WEIGHT_CODE;
            let codes = weights.map(|weight| i32::from(q8_0::round(weight * inverse) as u8));
            for (sums, lines) in sums.iter_mut().zip(groups.clone()) {
                let words = lines.as_flattened().as_chunks::<4>().0.as_chunks::<GROUP>().0;
                let mut dots = [0_i32; LINE];
                for (words, codes) in words.iter().zip(codes.as_chunks::<4>().0) {
                    for (dot, word) in dots.iter_mut().zip(words) {
                        for (value, code) in word.iter().zip(codes) {
                            *dot += i32::from(*value as i8) * code;
                        }
                    }
                }
                for (sum, dot) in sums.0.iter_mut().zip(dots) {
                    *sum = (dot as f32).mul_add(scale, *sum * factor);
                }
            }
        }
    }

    #[inline(always)]
    fn largest(self, line: &[f32; LINE]) -> f32 {
        reduce(*line, larger)
    }
}

fn widen_scales(line: &q8_0::Line) -> [f32; LINE] {
    let scales = line.as_chunks::<2>().0;
    std::array::from_fn(|i| f16::from_le_bytes(scales[i]).to_f32())
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
