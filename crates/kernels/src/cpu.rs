//! Finds out which vector instructions this processor has.

use std::{fmt, str::FromStr};

use crate::error::Error;

/// A set of vector instructions that kernels are written for.
///
/// A level names all the features that its kernels may use without asking again:
///
/// | level | features |
/// | --- | --- |
/// | `reference` | none: plain Rust |
/// | `neon` | `neon` (aarch64) |
/// | `avx2` | `avx2`, `fma`, `f16c` |
/// | `avx512` | those of `avx2`, and `avx512f`, `avx512bw`, `avx512dq`, `avx512vl` |
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CpuLevel {
    /// Plain Rust, on any processor.
    Reference,
    /// 128-bit vectors of aarch64.
    Neon,
    /// 256-bit vectors of x86-64, as on Haswell and Zen.
    Avx2,
    /// 512-bit vectors of x86-64, as on Skylake-X and Zen 4.
    Avx512,
}

impl CpuLevel {
    /// Every level, the plainest first.
    pub const ALL: [Self; 4] = [Self::Reference, Self::Neon, Self::Avx2, Self::Avx512];

    fn name(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Neon => "neon",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }
}

impl fmt::Display for CpuLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for CpuLevel {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|level| level.name() == name)
            .ok_or_else(|| Error::UnknownCpuLevel { name: name.to_owned() })
    }
}

/// What this processor can do.
///
/// Only detection makes one, so holding a `Cpu` whose [`level`](Self::level) is
/// [`CpuLevel::Avx512`] is the proof that those instructions exist here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpu {
    level: CpuLevel,
    extras: Extras,
}

/// Features that some processors of a level have and others lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Extras {
    vnni: bool,
    bf16: bool,
    vbmi: bool,
    dotprod: bool,
    i8mm: bool,
}

impl Cpu {
    /// Asks the processor for the best level that it has.
    pub fn detect() -> Self {
        let level = CpuLevel::ALL.into_iter().rev().find(|&level| is_detected(level));
        Self::at_level(level.unwrap_or(CpuLevel::Reference))
    }

    /// Uses `level` even where a better one exists, to test and to compare.
    ///
    /// # Errors
    ///
    /// [`Error::CpuLevelMissing`] where this processor lacks the level's instructions.
    pub fn forced(level: CpuLevel) -> Result<Self, Error> {
        if is_detected(level) {
            Ok(Self::at_level(level))
        } else {
            Err(Error::CpuLevelMissing { wanted: level, found: Self::detect().level })
        }
    }

    /// The level, all of whose features were detected.
    pub fn level(self) -> CpuLevel {
        self.level
    }

    /// Whether `avx512vnni` (at [`CpuLevel::Avx512`]) or `avxvnni` (at [`CpuLevel::Avx2`]) was detected.
    pub fn has_vnni(self) -> bool {
        self.extras.vnni
    }

    /// Whether `avx512bf16` was detected (at [`CpuLevel::Avx512`] only).
    pub fn has_bf16(self) -> bool {
        self.extras.bf16
    }

    /// Whether `avx512vbmi` was detected (at [`CpuLevel::Avx512`] only).
    pub fn has_vbmi(self) -> bool {
        self.extras.vbmi
    }

    /// Whether `dotprod` was detected (at [`CpuLevel::Neon`] only).
    pub fn has_dotprod(self) -> bool {
        self.extras.dotprod
    }

    /// Whether `i8mm` was detected (at [`CpuLevel::Neon`] only).
    pub fn has_i8mm(self) -> bool {
        self.extras.i8mm
    }

    /// Every level this processor has, the plainest first: what a test goes through.
    #[cfg(test)]
    pub(crate) fn every_level() -> impl Iterator<Item = Self> {
        CpuLevel::ALL.into_iter().filter_map(|level| Self::forced(level).ok())
    }

    /// `level` must have been detected.
    fn at_level(level: CpuLevel) -> Self {
        Self { level, extras: detected_extras(level) }
    }
}

impl fmt::Display for Cpu {
    /// The level and its extras, such as `avx512 + vnni + bf16`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.level)?;
        let Extras { vnni, bf16, vbmi, dotprod, i8mm } = self.extras;
        let extras =
            [(vnni, "vnni"), (bf16, "bf16"), (vbmi, "vbmi"), (dotprod, "dotprod"), (i8mm, "i8mm")];
        for (_, name) in extras.into_iter().filter(|(present, _)| *present) {
            write!(f, " + {name}")?;
        }
        Ok(())
    }
}

#[cfg(target_arch = "x86_64")]
fn is_detected(level: CpuLevel) -> bool {
    use std::arch::is_x86_feature_detected as has;
    match level {
        CpuLevel::Reference => true,
        CpuLevel::Neon => false,
        CpuLevel::Avx2 => has!("avx2") && has!("fma") && has!("f16c"),
        CpuLevel::Avx512 => {
            is_detected(CpuLevel::Avx2)
                && has!("avx512f")
                && has!("avx512bw")
                && has!("avx512dq")
                && has!("avx512vl")
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn detected_extras(level: CpuLevel) -> Extras {
    use std::arch::is_x86_feature_detected as has;
    match level {
        CpuLevel::Avx512 => Extras {
            vnni: has!("avx512vnni"),
            bf16: has!("avx512bf16"),
            vbmi: has!("avx512vbmi"),
            ..Extras::default()
        },
        CpuLevel::Avx2 => Extras { vnni: has!("avxvnni"), ..Extras::default() },
        CpuLevel::Reference | CpuLevel::Neon => Extras::default(),
    }
}

#[cfg(target_arch = "aarch64")]
fn is_detected(level: CpuLevel) -> bool {
    match level {
        CpuLevel::Reference => true,
        CpuLevel::Neon => std::arch::is_aarch64_feature_detected!("neon"),
        CpuLevel::Avx2 | CpuLevel::Avx512 => false,
    }
}

#[cfg(target_arch = "aarch64")]
fn detected_extras(level: CpuLevel) -> Extras {
    use std::arch::is_aarch64_feature_detected as has;
    if level != CpuLevel::Neon {
        return Extras::default();
    }
    Extras { dotprod: has!("dotprod"), i8mm: has!("i8mm"), ..Extras::default() }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn is_detected(level: CpuLevel) -> bool {
    level == CpuLevel::Reference
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn detected_extras(_level: CpuLevel) -> Extras {
    Extras::default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_reads_back_as_it_is_written() {
        for level in CpuLevel::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        let unknown = "sse".parse::<CpuLevel>();
        assert_eq!(unknown, Err(Error::UnknownCpuLevel { name: "sse".to_owned() }));
    }

    #[test]
    fn forcing_gives_the_level_or_says_what_there_is() {
        let best = Cpu::detect();
        for level in CpuLevel::ALL {
            match Cpu::forced(level) {
                Ok(cpu) => assert_eq!(cpu.level(), level),
                Err(error) => {
                    let found = best.level();
                    assert_eq!(error, Error::CpuLevelMissing { wanted: level, found });
                }
            }
        }
        assert!(Cpu::forced(CpuLevel::Reference).is_ok(), "plain Rust runs anywhere");
        assert_eq!(Cpu::forced(best.level()), Ok(best));
    }

    #[test]
    fn the_display_starts_with_the_level() {
        let reference = Cpu::forced(CpuLevel::Reference).unwrap();
        assert_eq!(reference.to_string(), "reference");
        let best = Cpu::detect();
        assert!(best.to_string().starts_with(&best.level().to_string()));
        assert_eq!(best.to_string().contains("vnni"), best.has_vnni());
    }
}
