//! What is written is read back, wherever it stands and however it is stored.

use super::*;
use crate::{cpu::Cpu, test_data::Random};

const F16: KvShape =
    KvShape { kv_type: KvType::F16, num_layers: 2, num_blocks: 5, num_kv_heads: 3, head_dim: 40 };
const Q8_0: KvShape = KvShape { kv_type: KvType::Q8_0, ..F16 };

/// Reads a token back as `(num_kv_heads, head_dim)`.
fn read(store: &KvStore, layer: usize, slot: u32) -> (Vec<f32>, Vec<f32>) {
    let KvShape { num_kv_heads, head_dim, .. } = store.shape();
    let mut k = vec![f32::NAN; num_kv_heads * head_dim];
    let mut v = k.clone();
    let heads = k.chunks_mut(head_dim).zip(v.chunks_mut(head_dim));
    for (head, (k, v)) in heads.enumerate() {
        store.read(layer, slot as usize, head, k, v);
    }
    (k, v)
}

/// What may come back for `stored`, whose numbers share a scale where there is one.
fn is_rounded(kv_type: KvType, read: &[f32], stored: &[f32]) -> bool {
    let largest = stored.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
    read.iter().zip(stored).all(|(read, stored)| match kv_type {
        KvType::F16 => read.to_bits() == f16::from_f32(*stored).to_f32().to_bits(),
        // Half a step, and what the scale and the largest code lose by the scale's rounding.
        KvType::Q8_0 => (read - stored).abs() <= largest * (0.5 / 127.0 + 1.0 / 2048.0),
    })
}

#[test]
fn a_token_is_found_where_it_was_written() {
    for (shape, head_dim) in [(F16, 40), (Q8_0, 40), (F16, 64), (Q8_0, 64), (F16, 3), (Q8_0, 3)] {
        let shape = KvShape { head_dim, ..shape };
        let token_len = shape.num_kv_heads * head_dim;
        for slots in [vec![], vec![33], vec![159, 0, 32, 31, 64, 7], (0..160).rev().collect()] {
            let compute = Compute::new(Cpu::detect(), 3);
            let mut store = KvStore::new(shape).unwrap();
            let mut random = Random::new(11);
            let k = random.values(slots.len() * token_len, 8.0);
            let v = random.values(slots.len() * token_len, 8.0);
            store.write(&compute, 1, &slots, &k, &v);
            for (i, &slot) in slots.iter().enumerate() {
                let (key, value) = read(&store, 1, slot);
                for head in 0..shape.num_kv_heads {
                    let here = head * head_dim..(head + 1) * head_dim;
                    let (k, v) = (&k[i * token_len..][here.clone()], &v[i * token_len..]);
                    let keys = key[here.clone()].chunks(32).zip(k.chunks(32));
                    for (key, k) in keys {
                        assert!(is_rounded(shape.kv_type, key, k), "slot {slot}: {key:?} of {k:?}");
                    }
                    let (value, v) = (&value[here.clone()], &v[here]);
                    assert!(is_rounded(shape.kv_type, value, v), "slot {slot}: {value:?} of {v:?}");
                }
                let (key, value) = read(&store, 0, slot);
                assert!(key.iter().chain(&value).all(|it| *it == 0.0), "the other layer is empty");
            }
        }
    }
}

#[test]
fn a_copied_block_holds_the_same_in_every_layer() {
    for shape in [F16, Q8_0] {
        let compute = Compute::new(Cpu::detect(), 1);
        let mut store = KvStore::new(shape).unwrap();
        let token_len = shape.num_kv_heads * shape.head_dim;
        let mut random = Random::new(12);
        for layer in 0..shape.num_layers {
            let (k, v) = (random.values(token_len, 1.0), random.values(token_len, 1.0));
            store.write(&compute, layer, &[2 * 32 + 9], &k, &v);
        }
        store.copy_block(2, 4);
        for layer in 0..shape.num_layers {
            assert_eq!(read(&store, layer, 4 * 32 + 9), read(&store, layer, 2 * 32 + 9));
        }
        assert_ne!(read(&store, 0, 4 * 32 + 9), read(&store, 1, 4 * 32 + 9));
    }
}

#[test]
fn what_is_stored_is_finite() {
    let compute = Compute::new(Cpu::detect(), 1);
    let wild = [f32::INFINITY, f32::NEG_INFINITY, 1e9, -65_520.0, f32::NAN, 65_504.0];
    for kv_type in KvType::ALL {
        let shape = KvShape { kv_type, num_layers: 1, num_blocks: 1, num_kv_heads: 1, head_dim: 6 };
        let mut store = KvStore::new(shape).unwrap();
        store.write(&compute, 0, &[3], &wild, &wild);
        let (k, v) = read(&store, 0, 3);
        for (i, read) in k.iter().chain(&v).enumerate() {
            let is_near_largest = (65_400.0..65_600.0).contains(&read.abs());
            let is_nan = wild[i % 6].is_nan();
            assert!(is_near_largest || is_nan && read.is_finite(), "{kv_type}: {k:?} {v:?}");
        }
        assert!(v[1] < 0.0);
    }
}

#[test]
fn numbers_too_small_for_a_scale_become_zero() {
    let compute = Compute::new(Cpu::detect(), 1);
    let mut store = KvStore::new(Q8_0).unwrap();
    let token = vec![1e-7; Q8_0.num_kv_heads * Q8_0.head_dim];
    store.write(&compute, 0, &[1], &token, &token);
    assert_eq!(read(&store, 0, 1).0, vec![0.0; token.len()]);
}

#[test]
fn a_size_is_told_and_an_impossible_one_refused() {
    check_sizes(F16, 2 * 5 * 3 * 32 * (40 + 64) * 2);
    // Two groups of 17 lines of keys, and 1 + 2 * 16 lines of values.
    check_sizes(Q8_0, 2 * 5 * 3 * (34 + 33) * 64);
}

fn check_sizes(shape: KvShape, bytes: usize) {
    assert_eq!(shape.num_bytes(), bytes);
    assert_eq!(KvStore::new(shape).unwrap().num_bytes(), bytes);

    let large = KvShape { num_blocks: 1 << 40, ..shape };
    let num_bytes = large.num_bytes();
    let error = KvStore::new(large).expect_err("a petabyte");
    assert_eq!(error, Error::OutOfMemory { what: "the KV cache", num_bytes });
    assert!(error.to_string().contains(&num_bytes.to_string()), "{error}");

    let impossible = KvShape { num_blocks: usize::MAX / 2, ..shape };
    assert_eq!(impossible.num_bytes(), usize::MAX);
    assert!(matches!(KvStore::new(impossible), Err(Error::SizeOverflow { .. })));
}

#[test]
fn a_type_reads_back_as_it_is_written() {
    for kv_type in KvType::ALL {
        assert_eq!(kv_type.to_string().parse(), Ok(kv_type));
    }
    let unknown = "q4_0".parse::<KvType>();
    assert_eq!(unknown, Err(Error::UnknownKvType { name: "q4_0".to_owned() }));
}

#[test]
#[should_panic(expected = "slot 160 is in block 5 of 5")]
fn a_slot_beyond_the_last_block_is_a_bug() {
    let token = vec![0.0; F16.num_kv_heads * F16.head_dim];
    let compute = Compute::new(Cpu::detect(), 1);
    KvStore::new(F16).unwrap().write(&compute, 0, &[160], &token, &token);
}
