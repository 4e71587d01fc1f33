//! What was heard, measured: where sound begins and ends, how loud it is, which frequency it has, whether it breaks off.
//!
//! These few lines are on purpose not callbot-media's: a ruler that the measured thing brings along proves little.

use std::f64::consts::TAU;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Sound in memory, channel by channel.
#[derive(Clone, Debug)]
pub struct Sound {
    rate: u32,
    channels: Vec<Vec<i16>>,
}

/// A stretch of sound, in milliseconds from the beginning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// First sound.
    pub begin: f64,
    /// End of the sound.
    pub end: f64,
}

impl Span {
    /// Its length in milliseconds.
    #[must_use]
    pub fn length(self) -> f64 {
        self.end - self.begin
    }
}

/// A steady tone as it was heard.
#[derive(Clone, Copy, Debug)]
pub struct Tone {
    /// Where it stands.
    pub span: Span,
    /// In Hz.
    pub frequency: f64,
    /// In dBov: 0 is a full-scale square wave.
    pub level: f64,
    /// The longest stretch inside it, in milliseconds, that is more than 6 dB too quiet.
    pub gap: f64,
}

/// Below this level, in dBov, a frame is silence.
const SILENCE: f64 = -50.0;
/// The frame of the measurements, in milliseconds.
const FRAME: f64 = 5.0;

impl Sound {
    /// Silence of so many milliseconds at 8 kHz, mono.
    #[must_use]
    pub fn silence(milliseconds: u32) -> Self {
        Self {
            rate: 8000,
            channels: vec![vec![0; milliseconds as usize * 8]],
        }
    }

    /// Silence of so many milliseconds at another rate (Hz), the same in each of so many channels.
    #[must_use]
    pub fn silence_at(rate: u32, channels: usize, milliseconds: u32) -> Self {
        Self {
            rate,
            channels: vec![vec![0; (milliseconds * rate / 1000) as usize]; channels],
        }
    }

    /// Goes on with a sine of this frequency (Hz) and level (dBov).
    #[must_use]
    pub fn tone(mut self, frequency: f64, level: f64, milliseconds: u32) -> Self {
        let amplitude = std::f64::consts::SQRT_2 * 10f64.powf(level / 20.0) * 32_768.0;
        let rate = f64::from(self.rate);
        for channel in &mut self.channels {
            channel.extend((0..milliseconds * self.rate / 1000).map(|n| {
                (amplitude * (TAU * frequency * f64::from(n) / rate).sin()).round() as i16
            }));
        }
        self
    }

    /// Goes on with silence.
    #[must_use]
    pub fn pause(mut self, milliseconds: u32) -> Self {
        let count = (milliseconds * self.rate / 1000) as usize;
        self.channels
            .iter_mut()
            .for_each(|channel| channel.extend(std::iter::repeat_n(0, count)));
        self
    }

    /// Goes on with these samples, the same in each channel.
    #[must_use]
    pub fn then(mut self, samples: &[i16]) -> Self {
        self.channels
            .iter_mut()
            .for_each(|channel| channel.extend_from_slice(samples));
        self
    }

    /// Samples a second.
    #[must_use]
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// The samples of the first channel.
    #[must_use]
    pub fn samples(&self) -> &[i16] {
        self.channels.first().map_or(&[], Vec::as_slice)
    }

    /// Writes a 16-bit WAV file.
    ///
    /// # Errors
    ///
    /// When the file cannot be written.
    pub fn write(&self, file: &Path) -> Result<()> {
        let spec = hound::WavSpec {
            channels: u16::try_from(self.channels.len())?,
            sample_rate: self.rate,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut writer = hound::WavWriter::create(file, spec)
            .with_context(|| format!("write {}", file.display()))?;
        for n in 0..self.channels.first().map_or(0, Vec::len) {
            for channel in &self.channels {
                writer.write_sample(channel.get(n).copied().unwrap_or(0))?;
            }
        }
        writer
            .finalize()
            .with_context(|| format!("finish {}", file.display()))
    }

    /// Reads a 16-bit WAV file.
    ///
    /// # Errors
    ///
    /// When it is not a whole WAV file of that kind.
    pub fn read(file: &Path) -> Result<Self> {
        let mut reader =
            hound::WavReader::open(file).with_context(|| format!("read {}", file.display()))?;
        let spec = reader.spec();
        ensure!(
            spec.bits_per_sample == 16,
            "{} has {} bits a sample",
            file.display(),
            spec.bits_per_sample
        );
        let count = usize::from(spec.channels.max(1));
        let mut channels = vec![Vec::new(); count];
        for (n, sample) in reader.samples::<i16>().enumerate() {
            channels[n % count]
                .push(sample.with_context(|| format!("read a sample of {}", file.display()))?);
        }
        Ok(Self {
            rate: spec.sample_rate,
            channels,
        })
    }

    /// How many channels it has.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.channels.len()
    }

    /// One channel alone; silence of no length when there is no such channel.
    #[must_use]
    pub fn channel(&self, number: usize) -> Self {
        Self {
            rate: self.rate,
            channels: vec![self.channels.get(number).cloned().unwrap_or_default()],
        }
    }

    /// Its length in milliseconds.
    #[must_use]
    pub fn length(&self) -> f64 {
        self.channels.first().map_or(0.0, |samples| {
            samples.len() as f64 * 1000.0 / f64::from(self.rate)
        })
    }

    /// The stretches of sound in the first channel; silence shorter than `bridge` milliseconds does not part them.
    #[must_use]
    pub fn spans(&self, bridge: f64) -> Vec<Span> {
        let mut spans: Vec<Span> = Vec::new();
        let sounding = self
            .levels()
            .into_iter()
            .enumerate()
            .filter(|(_, level)| *level > SILENCE);
        for (n, _) in sounding {
            let (begin, end) = (n as f64 * FRAME, (n + 1) as f64 * FRAME);
            match spans.last_mut() {
                Some(last) if begin - last.end <= bridge => last.end = end,
                _ => spans.push(Span { begin, end }),
            }
        }
        spans
    }

    /// The one tone of at least 200 ms that has this frequency within 5 percent, measured.
    ///
    /// # Errors
    ///
    /// When there is none or more than one; the message says what there is.
    pub fn find_tone(&self, frequency: f64) -> Result<Tone> {
        let tones: Vec<Tone> = self
            .spans(150.0)
            .into_iter()
            .filter(|s| s.length() >= 200.0)
            .map(|span| self.measure(span))
            .collect();
        let fitting: Vec<Tone> = tones
            .iter()
            .copied()
            .filter(|t| (t.frequency / frequency - 1.0).abs() < 0.05)
            .collect();
        ensure!(
            fitting.len() == 1,
            "one tone of {frequency} Hz was expected in {:.0} ms, heard were {tones:.1?}",
            self.length()
        );
        Ok(fitting[0])
    }

    /// Frequency, level and gaps of a stretch, without its first and last 20 ms.
    #[must_use]
    pub fn measure(&self, span: Span) -> Tone {
        let per_ms = f64::from(self.rate) / 1000.0;
        let samples = self.channels.first().map_or(&[][..], Vec::as_slice);
        let cut = |ms: f64| ((ms * per_ms) as usize).min(samples.len());
        let inside =
            &samples[cut(span.begin + 20.0)..cut((span.end - 20.0).max(span.begin + 20.0))];
        let level = level_dbov(inside);
        let frame = (FRAME * per_ms) as usize;
        let (mut gap, mut longest) = (0, 0);
        for part in inside.chunks(frame) {
            gap = if level_dbov(part) < level - 6.0 {
                gap + 1
            } else {
                0
            };
            longest = longest.max(gap);
        }
        Tone {
            span,
            frequency: frequency(inside, self.rate),
            level,
            gap: f64::from(longest) * FRAME,
        }
    }

    fn levels(&self) -> Vec<f64> {
        let frame = (FRAME * f64::from(self.rate) / 1000.0) as usize;
        self.channels
            .first()
            .map(|samples| samples.chunks(frame.max(1)).map(level_dbov).collect())
            .unwrap_or_default()
    }
}

impl Tone {
    /// Checks a tone against what was sent: frequency within 1 percent, level within 1 dB, length within 100 ms, no gap.
    ///
    /// # Errors
    ///
    /// With what is wrong.
    pub fn check(&self, frequency: f64, level: f64, milliseconds: f64) -> Result<()> {
        // A gap also spoils frequency and length, so it is named first.
        ensure!(
            self.gap <= FRAME,
            "the tone breaks off for {:.0} ms: {self:.2?}",
            self.gap
        );
        ensure!(
            (self.frequency / frequency - 1.0).abs() <= 0.01,
            "the tone has {:.2} Hz, sent were {frequency}: {self:.2?}",
            self.frequency
        );
        ensure!(
            (self.level - level).abs() <= 1.0,
            "the tone has {:.2} dBov, sent were {level}: {self:.2?}",
            self.level
        );
        ensure!(
            (self.span.length() - milliseconds).abs() <= 100.0,
            "the tone lasts {:.0} ms, sent were {milliseconds}: {self:.2?}",
            self.span.length()
        );
        Ok(())
    }
}

impl std::fmt::Display for Tone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            span,
            frequency,
            level,
            gap,
        } = self;
        write!(
            f,
            "{frequency:.1} Hz at {level:.2} dBov for {:.0} ms, longest gap {gap:.0} ms",
            span.length()
        )
    }
}

/// The level in dBov; -127 for digital silence.
fn level_dbov(samples: &[i16]) -> f64 {
    let power = samples
        .iter()
        .map(|s| (f64::from(*s) / 32_768.0).powi(2))
        .sum::<f64>()
        / samples.len().max(1) as f64;
    if power > 0.0 {
        10.0 * power.log10()
    } else {
        -127.0
    }
}

/// The mean frequency between the first and the last rising zero crossing, each placed between its samples.
fn frequency(samples: &[i16], rate: u32) -> f64 {
    let rising: Vec<f64> = samples
        .windows(2)
        .enumerate()
        .filter(|(_, pair)| pair[0] < 0 && pair[1] >= 0)
        .map(|(n, pair)| n as f64 + f64::from(pair[0]) / (f64::from(pair[0]) - f64::from(pair[1])))
        .collect();
    match (rising.first(), rising.last()) {
        (Some(first), Some(last)) if last > first => {
            (rising.len() - 1) as f64 * f64::from(rate) / (last - first)
        }
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tone_is_measured_as_it_was_made() {
        let sound = Sound::silence(300)
            .tone(440.0, -20.0, 1000)
            .pause(300)
            .tone(1000.0, -12.0, 500)
            .pause(100);
        let tone = sound.find_tone(440.0).expect("it is there");
        tone.check(440.0, -20.0, 1000.0)
            .expect("it is what was made");
        assert!((tone.frequency - 440.0).abs() < 0.5, "{tone}");
        sound
            .find_tone(1000.0)
            .and_then(|t| t.check(1000.0, -12.0, 500.0))
            .expect("so is the other");
        assert!(sound.find_tone(600.0).is_err());
    }

    #[test]
    fn wrong_tones_are_refused() {
        let tone = |sound: &Sound| sound.find_tone(440.0).expect("it is there");
        let broken = Sound::silence(100)
            .tone(440.0, -20.0, 500)
            .pause(20)
            .tone(440.0, -20.0, 480)
            .pause(100);
        assert!(
            tone(&broken)
                .check(440.0, -20.0, 1000.0)
                .is_err_and(|e| e.to_string().contains("breaks off"))
        );
        let quiet = Sound::silence(100).tone(440.0, -22.0, 1000);
        assert!(tone(&quiet).check(440.0, -20.0, 1000.0).is_err());
        let short = Sound::silence(100).tone(440.0, -20.0, 850);
        assert!(tone(&short).check(440.0, -20.0, 1000.0).is_err());
        let flat = Sound::silence(100).tone(434.0, -20.0, 1000);
        assert!(tone(&flat).check(440.0, -20.0, 1000.0).is_err());
    }
}
