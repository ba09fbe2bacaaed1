//! The operations on 128-bit registers of aarch64 with dot products: 16 rows in four.

#[allow(clippy::wildcard_imports, reason = "the names are the instructions' own and prefixed")]
use std::arch::{aarch64::*, asm};

use super::simd::{HalfLine, Kernel, Line, Simd, operations};
use crate::{
    cpu::{Cpu, CpuLevel},
    weights::TILE_ROWS,
};

/// Proof that NEON with `dotprod` was detected.
#[derive(Clone, Copy)]
pub(super) struct NeonDot(());

impl NeonDot {
    pub(super) fn new(cpu: Cpu) -> Option<Self> {
        (cpu.level() == CpuLevel::Neon && cpu.has_dotprod()).then_some(Self(()))
    }
}

impl Simd for NeonDot {
    type Int = int32x4_t;
    type Float = float32x4_t;

    const NUM_PARTS: usize = 4;
    // Three sets of eight sums leave eight of the 32 registers for weights and scales.
    const MAX_COLUMNS: usize = 8;
    // `sdot` multiplies signed codes with signed ones; codes up to 63 are the same either way.
    const SIGNED_ZERO: Option<u32> = None;

    #[inline(always)]
    fn vectorize<K: Kernel>(self, kernel: K) {
        #[target_feature(enable = "neon,dotprod")]
        fn vectorized<K: Kernel>(simd: NeonDot, kernel: K) {
            kernel.run(simd);
        }
        // SAFETY: the token `self` was made where these instructions had been detected.
        unsafe { vectorized(self, kernel) }
    }

    #[inline(always)]
    fn dots_per_gather(_max_code: i32) -> Option<usize> {
        None
    }

    operations! {
        fn words(line: &Line, part: usize) -> int32x4_t =
            vreinterpretq_s32_u8(vld1q_u8(line.as_chunks::<16>().0[part].as_ptr()));
        fn halves(line: &HalfLine, part: usize) -> int32x4_t = vreinterpretq_s32_u32(vmovl_u16(
            vreinterpret_u16_u8(vld1_u8(line.as_chunks::<8>().0[part].as_ptr()))));
        fn half_floats(line: &HalfLine, part: usize) -> float32x4_t =
            widen_half_floats(vld1_u8(line.as_chunks::<8>().0[part].as_ptr()));

        fn splat(value: i32) -> int32x4_t = vdupq_n_s32(value);
        fn splat_float(value: f32) -> float32x4_t = vdupq_n_f32(value);

        fn and(a: int32x4_t, b: int32x4_t) -> int32x4_t = vandq_s32(a, b);
        fn or(a: int32x4_t, b: int32x4_t) -> int32x4_t = vorrq_s32(a, b);
        fn add(a: int32x4_t, b: int32x4_t) -> int32x4_t = vaddq_s32(a, b);
        fn sub(a: int32x4_t, b: int32x4_t) -> int32x4_t = vsubq_s32(a, b);
        fn sub_bytes(a: int32x4_t, b: int32x4_t) -> int32x4_t = vreinterpretq_s32_s8(
            vsubq_s8(vreinterpretq_s8_s32(a), vreinterpretq_s8_s32(b)));
        fn mul(a: int32x4_t, b: int32x4_t) -> int32x4_t = vmulq_s32(a, b);
        fn shift_left(a: int32x4_t, bits: usize) -> int32x4_t =
            vshlq_s32(a, vdupq_n_s32(bits as i32));
        // Shifts by a register go right where the count is negative.
        fn shift_right(a: int32x4_t, bits: usize) -> int32x4_t = vreinterpretq_s32_u32(
            vshlq_u32(vreinterpretq_u32_s32(a), vdupq_n_s32(-(bits as i32))));
        fn shift_right_signed(a: int32x4_t, bits: usize) -> int32x4_t =
            vshlq_s32(a, vdupq_n_s32(-(bits as i32)));
        fn look_up(table: &[i8; 16], bytes: int32x4_t) -> int32x4_t = vreinterpretq_s32_s8(
            vqtbl1q_s8(vld1q_s8(table.as_ptr()), vreinterpretq_u8_s32(bytes)));

        fn even_bytes(a: int32x4_t) -> int32x4_t = vreinterpretq_s32_s16(
            vshrq_n_s16::<8>(vshlq_n_s16::<8>(vreinterpretq_s16_s32(a))));
        fn odd_bytes(a: int32x4_t) -> int32x4_t =
            vreinterpretq_s32_s16(vshrq_n_s16::<8>(vreinterpretq_s16_s32(a)));

        fn pin(a: int32x4_t) -> int32x4_t = {
            let mut a = a;
            asm!("/* {a:q} */", a = inout(vreg) a, options(pure, nomem, nostack, preserves_flags));
            a
        };
        fn dot(sums: int32x4_t, codes: int32x4_t, activations: i32) -> int32x4_t =
            sdot(sums, codes, vdupq_n_s32(activations));
        fn dot_signed(sums: int32x4_t, codes: int32x4_t, activations: i32) -> int32x4_t =
            sdot(sums, codes, vdupq_n_s32(activations));
        fn dot_pairs(sums: int32x4_t, pairs: int32x4_t, activations: i32) -> int32x4_t = {
            let pairs = vreinterpretq_s16_s32(pairs);
            let activations = vreinterpretq_s16_s32(vdupq_n_s32(activations));
            let low = vmull_s16(vget_low_s16(pairs), vget_low_s16(activations));
            let high = vmull_high_s16(pairs, activations);
            vaddq_s32(sums, vpaddq_s32(low, high))
        };

        fn to_float(a: int32x4_t) -> float32x4_t = vcvtq_f32_s32(a);
        fn as_float(bits: int32x4_t) -> float32x4_t = vreinterpretq_f32_s32(bits);
        fn mul_floats(a: float32x4_t, b: float32x4_t) -> float32x4_t = vmulq_f32(a, b);
        fn add_floats(a: float32x4_t, b: float32x4_t) -> float32x4_t = vaddq_f32(a, b);
        fn mul_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t =
            vfmaq_f32(c, a, b);
        fn neg_mul_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t =
            vfmsq_f32(c, a, b);
        fn store(a: float32x4_t, rows: &mut [f32; TILE_ROWS], part: usize) =
            vst1q_f32(rows.as_chunks_mut::<4>().0[part].as_mut_ptr(), a);

        fn prefetch(address: *const u8) = asm!(
            "prfm pldl1keep, [{}]", in(reg) address,
            options(nostack, preserves_flags, readonly));
    }
}

/// The instruction behind `vdotq_s32`, which stable Rust does not offer at this version.
///
/// # Safety
///
/// - The processor must have the `dotprod` feature.
#[inline(always)]
unsafe fn sdot(sums: int32x4_t, a: int32x4_t, b: int32x4_t) -> int32x4_t {
    let mut sums = sums;
    // SAFETY: the caller has seen `dotprod`; the instruction touches registers only.
    unsafe {
        asm!(
            ".arch_extension dotprod",
            "sdot {sums:v}.4s, {a:v}.16b, {b:v}.16b",
            sums = inout(vreg) sums, a = in(vreg) a, b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sums
}

/// The instruction behind `vcvt_f32_f16`, whose type stable Rust does not offer at this version.
///
/// # Safety
///
/// - The processor must have NEON.
#[inline(always)]
unsafe fn widen_half_floats(halves: uint8x8_t) -> float32x4_t {
    let floats: float32x4_t;
    // SAFETY: the caller has seen NEON; the instruction touches registers only.
    unsafe {
        asm!(
            "fcvtl {floats:v}.4s, {halves:v}.4h",
            floats = lateout(vreg) floats, halves = in(vreg) halves,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    floats
}
