//! Loops of nothing but multiply-and-add instructions: how fast the arithmetic could be at most.
//!
//! Each loop keeps [`NUM_CHAINS`] sums in registers, so that no instruction waits for the one before
//! it: two ports with a latency of four or five cycles are busy with ten.

use crate::cpu::{Cpu, CpuLevel};

const NUM_CHAINS: usize = 12;

/// Turns of a loop in one call: some hundred microseconds.
const NUM_TURNS: usize = 50_000;

/// A loop, and how many multiplications one call makes.
#[derive(Clone, Copy)]
pub(super) struct Chains {
    run: fn(),
    pub(super) num_macs: usize,
}

impl Chains {
    /// `lanes` multiplications per instruction (or group of instructions that does one step).
    fn new(run: fn(), lanes: usize) -> Self {
        Self { run, num_macs: NUM_TURNS * NUM_CHAINS * lanes }
    }

    pub(super) fn run(self) {
        (self.run)();
    }
}

/// Products of bytes summed in 32 bits, with the instructions that the matmul kernels take at the
/// level of `cpu`; none at the reference level, where plain Rust is all there is.
pub(super) fn int8(cpu: Cpu) -> Option<Chains> {
    match cpu.level() {
        #[cfg(target_arch = "x86_64")]
        CpuLevel::Avx512 if cpu.has_vnni() => Some(Chains::new(
            // SAFETY: this level and VNNI were detected.
            || unsafe { x86::int8_avx512() },
            64,
        )),
        #[cfg(target_arch = "x86_64")]
        CpuLevel::Avx512 | CpuLevel::Avx2 => Some(Chains::new(
            // SAFETY: AVX2 was detected, which AVX-512 includes.
            || unsafe { x86::int8_avx2() },
            32,
        )),
        #[cfg(target_arch = "aarch64")]
        CpuLevel::Neon if cpu.has_dotprod() => Some(Chains::new(
            // SAFETY: NEON and its dot products were detected.
            || unsafe { arm::int8_dotprod() },
            16,
        )),
        _ => None,
    }
}

/// Products of `bf16` numbers summed in `f32`, where the processor has instructions for them.
pub(super) fn bf16(cpu: Cpu) -> Option<Chains> {
    match cpu.level() {
        #[cfg(target_arch = "x86_64")]
        CpuLevel::Avx512 if cpu.has_bf16() => Some(Chains::new(
            // SAFETY: this level and products of `bf16` were detected.
            || unsafe { x86::bf16_avx512() },
            32,
        )),
        _ => None,
    }
}

/// Fused multiply-adds of `f32`, likewise.
pub(super) fn floats(cpu: Cpu) -> Option<Chains> {
    match cpu.level() {
        #[cfg(target_arch = "x86_64")]
        CpuLevel::Avx512 if cpu.has_vnni() => Some(Chains::new(
            // SAFETY: this level was detected.
            || unsafe { x86::floats_avx512() },
            16,
        )),
        #[cfg(target_arch = "x86_64")]
        CpuLevel::Avx512 | CpuLevel::Avx2 => Some(Chains::new(
            // SAFETY: AVX2 with FMA was detected, which AVX-512 includes.
            || unsafe { x86::floats_avx2() },
            8,
        )),
        #[cfg(target_arch = "aarch64")]
        CpuLevel::Neon if cpu.has_dotprod() => Some(Chains::new(
            // SAFETY: NEON was detected.
            || unsafe { arm::floats() },
            4,
        )),
        _ => None,
    }
}

/// Defines a loop in which every sum becomes `$next(sum, a, b)`.
///
/// The operands pass through `black_box`, and every sum starts with another value, so that the
/// compiler can neither compute the result nor merge the chains.
macro_rules! chains {
    ($name:ident, $features:literal, $splat:path, $value:ty, |$sum:ident, $a:ident, $b:ident| $next:expr) => {
        /// # Safety
        ///
        /// - The processor must have the features.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $name() {
            // SAFETY: the caller promises the features; no memory but the stack is touched.
            #[allow(unused_unsafe, reason = "only some of the instructions are unsafe to call")]
            unsafe {
                let splat = |value: usize| $splat(std::hint::black_box(value) as $value);
                let ($a, $b) = (splat(1), splat(2));
                let mut sums: [_; NUM_CHAINS] = std::array::from_fn(splat);
                for _ in 0..NUM_TURNS {
                    for sum in &mut sums {
                        let $sum = *sum;
                        *sum = $next;
                    }
                }
                std::hint::black_box(&sums);
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    #[allow(
        clippy::wildcard_imports,
        reason = "the names are the instructions' own and prefixed"
    )]
    use std::arch::x86_64::*;
    use std::mem::transmute;

    use super::{NUM_CHAINS, NUM_TURNS};

    chains!(int8_avx512, "avx512f,avx512vnni", _mm512_set1_epi32, i32, |sum, a, b| {
        _mm512_dpbusd_epi32(sum, a, b)
    });
    chains!(bf16_avx512, "avx512f,avx512bf16", _mm512_set1_ps, f32, |sum, a, b| {
        // Any bits are `bf16` numbers.
        _mm512_dpbf16_ps(sum, transmute::<__m512, __m512bh>(a), transmute::<__m512, __m512bh>(b))
    });
    chains!(floats_avx512, "avx512f", _mm512_set1_ps, f32, |sum, a, b| _mm512_fmadd_ps(a, b, sum));
    chains!(floats_avx2, "avx2,fma", _mm256_set1_ps, f32, |sum, a, b| _mm256_fmadd_ps(a, b, sum));
    // Products that did not depend on the sum would be computed once, before the loop.
    chains!(int8_avx2, "avx2", _mm256_set1_epi32, i32, |sum, a, b| {
        _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(a, sum), b))
    });
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::{
        aarch64::{int32x4_t, vdupq_n_f32, vdupq_n_s32, vfmaq_f32},
        asm,
    };

    use super::{NUM_CHAINS, NUM_TURNS};

    chains!(int8_dotprod, "neon,dotprod", vdupq_n_s32, i32, |sum, a, b| sdot(sum, a, b));
    chains!(floats, "neon", vdupq_n_f32, f32, |sum, a, b| vfmaq_f32(sum, a, b));

    /// The instruction behind `vdotq_s32`, which stable Rust does not offer at this version.
    ///
    /// # Safety
    ///
    /// - The processor must have the `dotprod` feature.
    #[inline(always)]
    unsafe fn sdot(mut sums: int32x4_t, a: int32x4_t, b: int32x4_t) -> int32x4_t {
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
}
