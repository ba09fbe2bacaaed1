//! `exp` and `tanh` in a form that the compiler turns into vector code.
//!
//! The idea: `exp(x) = 2^n * exp(r)` with `n = round(x / ln 2)` and `|r| <= ln 2 / 2`, where a
//! polynomial gives `exp(r) - 1`. `2^n` is made from its exponent's bits.

#![allow(clippy::inline_always, reason = "a body takes on the features of its caller")]

/// Below this `exp` is zero: the smallest `x` whose result is a normal number is -87.336.
const MIN_EXPONENT: f32 = -87.3;

/// Above this `exp` stays at `exp(88)` = 1.65e38, so that no sum or ratio of it overflows at once.
const MAX_EXPONENT: f32 = 88.0;

/// `ln 2` in two parts (Cody and Waite): the first has so few bits that `n * LN_2_HIGH` is exact.
const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// Adding this rounds to an integer, which then stands in the low bits: 1.5 * 2^23.
const ROUND: f32 = 12_582_912.0;

/// Coefficients of `(exp(r) - 1 - r) / r^2` for `|r| <= ln 2 / 2`, highest power first (the
/// single-precision set of the Cephes library, error 2e-8).
const POLYNOMIAL: [f32; 6] =
    [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];

/// `e^x` with a relative error below 3e-7. Zero below -87.3, `e^88` above 88; NaN stays NaN.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    let (fraction, power) = split_exp(x);
    let result = fraction.mul_add(power, power);
    if x < MIN_EXPONENT { 0.0 } else { result }
}

/// The hyperbolic tangent with a relative error below 6e-7, also near zero. NaN stays NaN.
#[inline(always)]
pub(crate) fn tanh(x: f32) -> f32 {
    // With e = exp(-2|x|): tanh|x| = (1 - e) / (1 + e). `e - 1` comes from its parts, as the
    // difference of rounded numbers would lose the small arguments.
    let (fraction, power) = split_exp(-2.0 * x.abs());
    let minus_one = fraction.mul_add(power, power - 1.0);
    (-minus_one / (minus_one + 2.0)).copysign(x)
}

/// `(f, p)` with `exp(x) = p + p * f` for `x` clamped to the range in which `p` is a normal number.
#[inline(always)]
fn split_exp(x: f32) -> (f32, f32) {
    // Comparisons written such that NaN passes through.
    let x = if x < MIN_EXPONENT { MIN_EXPONENT } else { x };
    let x = if x > MAX_EXPONENT { MAX_EXPONENT } else { x };
    let rounded = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, x));
    let mut quotient = POLYNOMIAL[0];
    for coefficient in &POLYNOMIAL[1..] {
        quotient = quotient.mul_add(r, *coefficient);
    }
    // The low bits of `rounded` are n; those of ROUND itself leave through the top.
    let power = f32::from_bits(rounded.to_bits().wrapping_add(127) << 23);
    (quotient.mul_add(r * r, r), power)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of the polynomial (2e-8), the rounding of its five steps and of the last product.
    const EXP_TOLERANCE: f64 = 3e-7;

    /// That of `exp`, and a quotient of two such numbers.
    const TANH_TOLERANCE: f64 = 6e-7;

    fn check(name: &str, got: f32, expected: f64, tolerance: f64, x: f32) {
        let error = (f64::from(got) - expected).abs() / expected.abs().max(f64::MIN_POSITIVE);
        assert!(error <= tolerance, "{name}({x}) = {got}, expected {expected}, error {error:e}");
    }

    #[test]
    fn exp_is_close_everywhere_in_its_range() {
        for i in -873_000..=880_000 {
            let x = i as f32 * 1e-4;
            check("exp", exp(x), f64::from(x).exp(), EXP_TOLERANCE, x);
        }
        assert_eq!(exp(0.0).to_bits(), 1.0_f32.to_bits());
    }

    #[test]
    fn exp_ends_in_zero_and_in_a_large_number() {
        for x in [f32::NEG_INFINITY, f32::MIN, -1e10, -88.0] {
            assert_eq!(exp(x).to_bits(), 0, "exp({x}) is zero exactly");
        }
        for x in [89.0, 1e10, f32::MAX, f32::INFINITY] {
            check("exp", exp(x), 88_f64.exp(), EXP_TOLERANCE, x);
        }
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn tanh_is_close_everywhere() {
        for i in -200_000..=200_000 {
            let x = i as f32 * 1e-4;
            check("tanh", tanh(x), f64::from(x).tanh(), TANH_TOLERANCE, x);
        }
        for x in [1e-30, 1e-10, 3e-5, 1e-3, 50.0, 1e30, f32::INFINITY] {
            check("tanh", tanh(x), f64::from(x).tanh(), TANH_TOLERANCE, x);
            check("tanh", tanh(-x), f64::from(-x).tanh(), TANH_TOLERANCE, -x);
        }
        assert!(tanh(f32::NAN).is_nan());
    }
}
