//! Compiles one plain body once per processor level, so that the compiler vectorizes it for each.
//!
//! The bodies are written with fixed-size groups of lanes and without fused arithmetic that the
//! compiler could reorder; what comes out is vector code that computes, lane for lane, what the
//! body says. A body is `#[inline(always)]`, as it takes on the features of what it is inlined into.

/// Defines `fn $name(cpu: Cpu, ...)`, which runs `$body` compiled for the processor's level, or
/// `$reference` at the reference level.
macro_rules! for_each_level {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?);
     body = $body:path; reference = $reference:path;) => {
        $(#[$meta])*
        $vis fn $name(cpu: crate::cpu::Cpu, $($arg: $type),*) {
            #[allow(unused_imports, reason = "not every architecture has a level of its own")]
            use crate::cpu::CpuLevel;

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
            fn on_avx512($($arg: $type),*) {
                $body($($arg),*);
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma,f16c")]
            fn on_avx2($($arg: $type),*) {
                $body($($arg),*);
            }

            #[cfg(target_arch = "aarch64")]
            #[target_feature(enable = "neon")]
            fn on_neon($($arg: $type),*) {
                $body($($arg),*);
            }

            match cpu.level() {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: a `Cpu` of this level exists only where its features were detected.
                CpuLevel::Avx512 => unsafe { on_avx512($($arg),*) },
                #[cfg(target_arch = "x86_64")]
                // SAFETY: a `Cpu` of this level exists only where its features were detected.
                CpuLevel::Avx2 => unsafe { on_avx2($($arg),*) },
                #[cfg(target_arch = "aarch64")]
                // SAFETY: a `Cpu` of this level exists only where its features were detected.
                CpuLevel::Neon => unsafe { on_neon($($arg),*) },
                #[allow(clippy::match_wildcard_for_single_variants, reason = "differs by architecture")]
                _ => $reference($($arg),*),
            }
        }
    };
}

pub(crate) use for_each_level;
