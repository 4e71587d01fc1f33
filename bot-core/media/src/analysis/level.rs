//! The level of a signal in dBov (RFC 6464's unit: decibels below the loudest that the format expresses).

/// The level of digital silence, and the lowest that is ever reported.
pub const SILENCE_DBOV: f32 = -127.0;

/// The level of these samples in dBov.
#[must_use]
pub fn level_dbov(samples: &[i16]) -> f32 {
    if samples.is_empty() {
        return SILENCE_DBOV;
    }
    // A square fits 31 bits, so 64 bits hold the sum of more samples than memory does.
    let energy: u64 = samples
        .iter()
        .map(|sample| u64::from(sample.unsigned_abs()).pow(2))
        .sum();
    power_dbov(energy as f64 / samples.len() as f64)
}

/// The level in dBov of a mean square of 16-bit samples.
#[must_use]
pub fn power_dbov(mean_square: f64) -> f32 {
    let level = 10.0 * (mean_square / (32_768.0 * 32_768.0)).log10();
    (level as f32).max(SILENCE_DBOV)
}

/// The level without a constant offset, which some gateways add and no ear hears.
#[must_use]
pub(crate) fn level_without_offset(samples: &[i16]) -> f32 {
    if samples.is_empty() {
        return SILENCE_DBOV;
    }
    let count = samples.len() as f64;
    let sum: i64 = samples.iter().map(|sample| i64::from(*sample)).sum();
    let energy: u64 = samples
        .iter()
        .map(|sample| u64::from(sample.unsigned_abs()).pow(2))
        .sum();
    let mean = sum as f64 / count;
    power_dbov((energy as f64 / count - mean * mean).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_has_its_ends_where_it_says() {
        assert!(level_dbov(&[i16::MIN; 100]).abs() < 1e-6);
        assert!((level_dbov(&[]) - SILENCE_DBOV).abs() < f32::EPSILON);
        assert!((level_dbov(&[0; 100]) - SILENCE_DBOV).abs() < f32::EPSILON);
        assert!((level_dbov(&[328; 100]) + 40.0).abs() < 0.01);
    }

    #[test]
    fn an_offset_is_not_a_sound() {
        assert!(level_without_offset(&[1_000; 160]) < -100.0);
        let buzz: Vec<i16> = (0..160)
            .map(|n| 1_000 + if n % 2 == 0 { 328 } else { -328 })
            .collect();
        assert!((level_without_offset(&buzz) + 40.0).abs() < 0.01);
    }
}
