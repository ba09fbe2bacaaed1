//! Rotary position angles: one frequency per pair of dimensions, and their cosines and sines.

/// How positions beyond the training length are squeezed into it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RopeScaling {
    /// Not at all. (Llama 3's scaling comes as per-frequency factors in `rope_freqs.weight`.)
    None,
    /// Every position is divided by `factor`.
    Linear {
        /// The divisor.
        factor: f32,
    },
    /// `YaRN` (Peng et al. 2023): high frequencies stay, low ones are interpolated.
    Yarn {
        /// How much longer the context became.
        factor: f32,
        /// Context of the training.
        original_context_length: usize,
        /// Multiplies cosines and sines, on top of `YaRN`'s own `1 + 0.1 ln(factor)`.
        attention_factor: f32,
    },
    /// `LongRoPE` (Phi-3): one table of factors for short contexts, one for long ones.
    Long {
        /// Up to this context the short table holds.
        original_context_length: usize,
        /// Multiplies cosines and sines.
        attention_factor: f32,
    },
}

/// Frequencies of one rotary embedding.
#[derive(Clone, Debug)]
pub(crate) struct RopeTable {
    /// Radians per position, one per pair. (num_rot / 2)
    frequencies: Vec<f64>,
    magnitude: f32,
}

impl RopeTable {
    /// `factors`, when the file has them, divide the frequencies one by one. (num_rot / 2)
    pub(crate) fn new(
        num_rot: usize,
        theta: f32,
        scaling: RopeScaling,
        factors: Option<&[f32]>,
    ) -> Self {
        let theta = f64::from(theta);
        let num_pairs = num_rot / 2;
        let plain = (0..num_pairs).map(|pair| theta.powf(-2.0 * pair as f64 / num_rot as f64));
        let mut frequencies: Vec<f64> = match factors {
            Some(factors) => plain.zip(factors).map(|(f, &by)| f / f64::from(by)).collect(),
            None => plain.collect(),
        };
        let magnitude = match scaling {
            RopeScaling::None => 1.0,
            RopeScaling::Linear { factor } => {
                frequencies.iter_mut().for_each(|f| *f /= f64::from(factor));
                1.0
            }
            RopeScaling::Yarn { factor, original_context_length, attention_factor } => {
                yarn(&mut frequencies, num_rot, theta, f64::from(factor), original_context_length);
                attention_factor * (1.0 + 0.1 * factor.ln())
            }
            RopeScaling::Long { attention_factor, .. } => attention_factor,
        };
        Self { frequencies, magnitude }
    }

    /// Cosine and sine of every pair at each position, into `out` (num_positions, num_rot / 2, 2).
    pub(crate) fn cos_sin(&self, positions: &[u32], out: &mut Vec<f32>) {
        out.clear();
        out.reserve(positions.len() * self.frequencies.len() * 2);
        for &position in positions {
            for frequency in &self.frequencies {
                // In f64: at position 100,000 an f32 angle is off by a hundredth of a radian.
                let (sin, cos) = (f64::from(position) * frequency).sin_cos();
                out.push(cos as f32 * self.magnitude);
                out.push(sin as f32 * self.magnitude);
            }
        }
    }
}

/// Interpolates slow frequencies by `factor` and leaves fast ones, with a linear ramp between the
/// pairs that turn 32 times and once in the original context (`YaRN`'s beta_fast and beta_slow).
fn yarn(
    frequencies: &mut [f64],
    num_rot: usize,
    theta: f64,
    factor: f64,
    original_context_length: usize,
) {
    let pair_with_turns = |turns: f64| {
        num_rot as f64 * (original_context_length as f64 / (turns * std::f64::consts::TAU)).ln()
            / (2.0 * theta.ln())
    };
    let low = pair_with_turns(32.0).floor().max(0.0);
    let high = pair_with_turns(1.0).ceil().min(num_rot as f64 - 1.0);
    for (pair, frequency) in frequencies.iter_mut().enumerate() {
        let interpolated = ((pair as f64 - low) / (high - low).max(0.001)).clamp(0.0, 1.0);
        *frequency *= (1.0 - interpolated) + interpolated / factor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn angles(table: &RopeTable, position: u32) -> Vec<f32> {
        let mut out = Vec::new();
        table.cos_sin(&[position], &mut out);
        out.chunks(2).map(|pair| pair[1].atan2(pair[0])).collect()
    }

    #[test]
    fn scaling_divides_the_angle() {
        let plain = RopeTable::new(4, 10_000.0, RopeScaling::None, None);
        let linear = RopeTable::new(4, 10_000.0, RopeScaling::Linear { factor: 2.0 }, None);
        let factors = RopeTable::new(4, 10_000.0, RopeScaling::None, Some(&[2.0, 2.0]));
        for (half, full) in angles(&linear, 2).iter().zip(angles(&plain, 1)) {
            assert!((half - full).abs() < 1e-6, "{half} {full}");
        }
        assert_eq!(angles(&linear, 2), angles(&factors, 2));
    }

    #[test]
    fn yarn_keeps_fast_pairs_and_interpolates_slow_ones() {
        let scaling =
            RopeScaling::Yarn { factor: 4.0, original_context_length: 4096, attention_factor: 1.0 };
        let plain = RopeTable::new(128, 10_000.0, RopeScaling::None, None).frequencies;
        let yarn = RopeTable::new(128, 10_000.0, scaling, None);
        assert!((yarn.frequencies[0] - plain[0]).abs() < 1e-12);
        assert!((yarn.frequencies[63] - plain[63] / 4.0).abs() < 1e-12);
        assert!((yarn.magnitude - 1.138_629_4).abs() < 1e-6);
    }
}
