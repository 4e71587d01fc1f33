//! Audio files: WAV, FLAC, MP3, OGG Vorbis, AAC (ADTS and M4A) and AIFF, of any rate and channel count, to mono samples.
//!
//! Purpose: one reader above symphonia for whole prompts and for long streams, whose errors name the file and say what to
//! do about it. Channels are averaged, so that no mix clips.
//!
//! Invariants: no claim of a header makes memory grow, only audio that was decoded does; a file that ends before what it
//! promises is an error and not a shorter prompt; a file without a single sample is an error.

use std::io::{Cursor, Seek};
use std::path::Path;
use std::time::Duration;

use symphonia::core::codecs::audio::{AudioDecoder, AudioDecoderOptions};
use symphonia::core::common::Limit;
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatReader, SeekMode, SeekTo, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::units::Time;

use super::Prompt;
use crate::frame::MAX_RATE;
use crate::resample::{HIGHEST_RATE, LOWEST_RATE, Resampler, to_i16};

/// The samples that a [`Prompt`] holds at most: 70 minutes at 8 kHz, 11 at 48 kHz. Longer files are streamed.
pub const LONGEST_PROMPT: usize = 32 << 20;

/// A file that claims to be longer than this was written by a program that could not know its length.
const CREDIBLE: Duration = Duration::from_secs(3 * 3600);

/// What may be missing of the promised length: the padding of the last packet, as some encoders count it.
const TOLERATED: Duration = Duration::from_millis(60);

/// Tags and pictures beyond this size are skipped.
const LARGEST_TAG: usize = 1 << 20;

/// Why a file gives no audio.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The file could not be opened or read.
    #[error("cannot read `{name}`: {source}; check the path and its permissions")]
    Io {
        /// The file, as it was named.
        name: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// There is nothing in the file.
    #[error("`{name}` is empty: record or convert it again")]
    Empty {
        /// The file, as it was named.
        name: String,
    },
    /// No known format was recognised.
    #[error(
        "`{name}` is not an audio file that can be read: convert it to wav, flac, mp3, ogg vorbis, m4a (aac) or aiff"
    )]
    NotAudio {
        /// The file, as it was named.
        name: String,
    },
    /// The format is known, what is in it is not.
    #[error(
        "`{name}` holds audio that this build cannot decode ({what}): convert it to wav, flac, mp3, ogg vorbis, m4a (aac) or aiff"
    )]
    Unsupported {
        /// The file, as it was named.
        name: String,
        /// What is not supported.
        what: String,
    },
    /// The file ends before what its header promises.
    #[error(
        "`{name}` is truncated: it promises {promised:.2} s of audio and holds {found:.2} s; copy it again"
    )]
    Truncated {
        /// The file, as it was named.
        name: String,
        /// Seconds that the header promises.
        promised: f64,
        /// Seconds that could be decoded.
        found: f64,
    },
    /// The file is damaged.
    #[error("`{name}` is damaged: {reason}; copy or convert it again")]
    Corrupt {
        /// The file, as it was named.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The file is too long to be held in memory.
    #[error(
        "`{name}` is longer than the {minutes} minutes that are held in memory: stream it, or cut it"
    )]
    TooLong {
        /// The file, as it was named.
        name: String,
        /// The limit at the file's rate, in minutes.
        minutes: u64,
    },
}

/// Reads a whole audio file.
///
/// # Errors
/// When the file is missing, is no audio, is empty, damaged, truncated, or too long to be held in memory.
pub fn decode_file(path: impl AsRef<Path>) -> Result<Prompt, DecodeError> {
    whole(Reader::open(path.as_ref())?)
}

/// Reads a whole audio file from memory; `name` appears in errors.
///
/// # Errors
/// As [`decode_file`].
pub fn decode_bytes(
    name: &str,
    bytes: impl AsRef<[u8]> + Send + Sync + 'static,
) -> Result<Prompt, DecodeError> {
    whole(Reader::new(name, Box::new(Cursor::new(bytes)))?)
}

fn whole(mut reader: Reader) -> Result<Prompt, DecodeError> {
    // Nothing that a call carries goes beyond 48 kHz, so a studio recording is brought down before it is kept.
    let rate = reader.rate().min(MAX_RATE);
    let mut resampler = reader.resampler(rate)?;
    let (mut decoded, mut converted, mut pcm) = (Vec::new(), Vec::new(), Vec::new());
    while reader.next(&mut decoded)? {
        converted.clear();
        resampler.push(&decoded, &mut converted);
        if pcm.len() + converted.len() > LONGEST_PROMPT {
            return Err(DecodeError::TooLong {
                name: reader.name,
                minutes: LONGEST_PROMPT as u64 / u64::from(rate) / 60,
            });
        }
        pcm.extend(converted.iter().map(|value| to_i16(*value)));
    }
    converted.clear();
    resampler.finish(&mut converted);
    pcm.extend(converted.iter().map(|value| to_i16(*value)));
    Ok(Prompt::from_shared(rate, pcm.into()))
}

/// Decodes one file packet by packet.
pub(super) struct Reader {
    name: String,
    /// Absent only while the file is begun again, or when that failed.
    format: Option<Box<dyn FormatReader>>,
    decoder: Box<dyn AudioDecoder>,
    track: u32,
    rate: u32,
    promised: Option<Duration>,
    /// Samples decoded since the beginning or since a seek to it.
    decoded: u64,
    whole: bool,
    ended: bool,
    packets: u64,
    damaged: u64,
    interleaved: Vec<f32>,
}

impl Reader {
    /// Opens a file and finds its audio.
    pub(super) fn open(path: &Path) -> Result<Self, DecodeError> {
        let name = path.display().to_string();
        let io = |source| DecodeError::Io {
            name: name.clone(),
            source,
        };
        let file = std::fs::File::open(path).map_err(io)?;
        let about = file.metadata().map_err(io)?;
        if about.is_dir() {
            return Err(io(std::io::ErrorKind::IsADirectory.into()));
        }
        Self::new(&name, Box::new(file))
    }

    /// Finds the audio in a source.
    pub(super) fn new(name: &str, mut source: Box<dyn MediaSource>) -> Result<Self, DecodeError> {
        let name = name.to_owned();
        if nothing_in(&mut *source).map_err(|source| DecodeError::Io {
            name: name.clone(),
            source,
        })? {
            return Err(DecodeError::Empty { name });
        }
        Self::over(name, MediaSourceStream::new(source, Default::default()))
    }

    fn over(name: String, stream: MediaSourceStream<'static>) -> Result<Self, DecodeError> {
        let tags = MetadataOptions::default()
            .limit_tag_bytes(Limit::Maximum(LARGEST_TAG))
            .limit_visual_bytes(Limit::Maximum(LARGEST_TAG));
        let format = symphonia::default::get_probe()
            .probe(&Hint::new(), stream, Default::default(), tags)
            .map_err(|error| explain(&name, error))?;
        let Some(track) = format.default_track(TrackType::Audio) else {
            return Err(DecodeError::Unsupported {
                name,
                what: "it has no audio track".into(),
            });
        };
        let Some(parameters) = track.codec_params.as_ref().and_then(|p| p.audio()) else {
            return Err(DecodeError::Unsupported {
                name,
                what: "its audio codec is unknown".into(),
            });
        };
        let decoder = symphonia::default::get_codecs()
            .make_audio_decoder(parameters, &AudioDecoderOptions::default())
            .map_err(|error| match error {
                SymphoniaError::Unsupported(what) => DecodeError::Unsupported {
                    name: name.clone(),
                    what: what.into(),
                },
                other => explain(&name, other),
            })?;
        let promised = track
            .num_frames
            .zip(parameters.sample_rate)
            .filter(|(_, rate)| *rate > 0)
            .map(|(frames, rate)| Duration::from_secs_f64(frames as f64 / f64::from(rate)))
            .filter(|length| *length < CREDIBLE);
        let track = track.id;
        let mut reader = Self {
            rate: parameters.sample_rate.unwrap_or(0),
            name,
            format: Some(format),
            decoder,
            track,
            promised,
            decoded: 0,
            whole: true,
            ended: false,
            packets: 0,
            damaged: 0,
            interleaved: Vec::new(),
        };
        if reader.rate == 0 {
            // Some containers leave the rate to the first packet.
            let mut first = Vec::new();
            reader.next(&mut first)?;
            reader.seek(Duration::ZERO)?;
        }
        if !(LOWEST_RATE..=HIGHEST_RATE).contains(&reader.rate) {
            let reason = format!("its sample rate is {} Hz", reader.rate);
            return Err(DecodeError::Corrupt {
                name: reader.name,
                reason,
            });
        }
        Ok(reader)
    }

    /// The rate of the samples in hertz.
    pub(super) fn rate(&self) -> u32 {
        self.rate
    }

    /// The length that the file claims to have, where it claims a credible one.
    pub(super) fn duration(&self) -> Option<Duration> {
        self.promised
    }

    /// A conversion from this file's rate.
    pub(super) fn resampler(&self, rate: u32) -> Result<Resampler, DecodeError> {
        Resampler::new(self.rate, rate).map_err(|error| DecodeError::Unsupported {
            name: self.name.clone(),
            what: error.to_string(),
        })
    }

    /// Puts the next piece, in mono, in place of what is in `mono`; `false` at the end.
    pub(super) fn next(&mut self, mono: &mut Vec<f32>) -> Result<bool, DecodeError> {
        mono.clear();
        loop {
            let Some(format) = &mut self.format else {
                return Ok(false);
            };
            let packet = match format.next_packet() {
                Ok(Some(packet)) => packet,
                Ok(None) => return self.end(),
                Err(SymphoniaError::IoError(error))
                    if error.kind() == std::io::ErrorKind::UnexpectedEof =>
                {
                    return self.end();
                }
                // The length that was promised tells whether the damage cost anything.
                Err(SymphoniaError::DecodeError(_)) if self.decoded > 0 => return self.end(),
                Err(error) => return Err(explain(&self.name, error)),
            };
            if packet.track_id != self.track {
                continue;
            }
            self.packets += 1;
            let buffer = match self.decoder.decode(&packet) {
                Ok(buffer) => buffer,
                Err(SymphoniaError::DecodeError(reason)) => {
                    self.damaged += 1;
                    if self.damaged > 20 && self.damaged * 4 > self.packets {
                        return Err(self.corrupt(reason));
                    }
                    continue;
                }
                Err(SymphoniaError::IoError(_)) => {
                    self.damaged += 1;
                    continue;
                }
                Err(error) => return Err(explain(&self.name, error)),
            };
            let (rate, channels) = (buffer.spec().rate(), buffer.num_planes());
            if buffer.frames() == 0 || channels == 0 {
                continue;
            }
            if self.rate == 0 {
                self.rate = rate;
            }
            if rate != self.rate && self.decoded > 0 {
                return Err(self.corrupt("its sample rate changes on the way"));
            }
            self.rate = rate;
            buffer.copy_to_vec_interleaved(&mut self.interleaved);
            let share = 1.0 / channels as f32;
            mono.extend(
                self.interleaved
                    .chunks_exact(channels)
                    .map(|frame| frame.iter().sum::<f32>() * share),
            );
            self.decoded += mono.len() as u64;
            return Ok(true);
        }
    }

    /// Goes to a place, or as near before it as the format allows, and says where that is.
    pub(super) fn seek(&mut self, position: Duration) -> Result<Duration, DecodeError> {
        if self.ended {
            self.begin_again()?;
        }
        let time = Time::try_from_secs_f64(position.as_secs_f64()).unwrap_or(Time::ZERO);
        let to = SeekTo::Time {
            time,
            track_id: Some(self.track),
        };
        let Some(format) = &mut self.format else {
            return Err(self.corrupt("it could not be begun again"));
        };
        let reached = format
            .seek(SeekMode::Accurate, to)
            .map_err(|error| explain(&self.name, error))?;
        self.decoder.reset();
        self.decoded = 0;
        self.whole = position.is_zero();
        let place = format
            .tracks()
            .iter()
            .find(|track| track.id == self.track)
            .and_then(|track| track.time_base)
            .and_then(|base| base.calc_time(reached.actual_ts))
            .map_or(position, |time| {
                Duration::from_secs_f64(time.as_secs_f64().max(0.0))
            });
        Ok(place)
    }

    /// Opens the same source once more. symphonia's MP4 reader gives nothing any more once it has seen the end.
    fn begin_again(&mut self) -> Result<(), DecodeError> {
        let Some(format) = self.format.take() else {
            return Err(self.corrupt("it could not be begun again"));
        };
        let mut stream = format.into_inner();
        stream.rewind().map_err(|source| DecodeError::Io {
            name: self.name.clone(),
            source,
        })?;
        *self = Self::over(self.name.clone(), stream)?;
        Ok(())
    }

    fn end(&mut self) -> Result<bool, DecodeError> {
        self.ended = true;
        if !self.whole {
            return Ok(false);
        }
        if self.decoded == 0 {
            return Err(if self.damaged > 0 {
                self.corrupt("none of its packets can be decoded")
            } else {
                DecodeError::Empty {
                    name: self.name.clone(),
                }
            });
        }
        let found = Duration::from_secs_f64(self.decoded as f64 / f64::from(self.rate));
        match self.promised {
            Some(promised) if found + TOLERATED.max(promised / 100) < promised => {
                Err(DecodeError::Truncated {
                    name: self.name.clone(),
                    promised: promised.as_secs_f64(),
                    found: found.as_secs_f64(),
                })
            }
            _ => Ok(false),
        }
    }

    fn corrupt(&self, reason: &str) -> DecodeError {
        DecodeError::Corrupt {
            name: self.name.clone(),
            reason: reason.into(),
        }
    }
}

/// Whether a source has no bytes at all. The place in it is left at the beginning.
fn nothing_in(source: &mut dyn MediaSource) -> std::io::Result<bool> {
    if !source.is_seekable() {
        return Ok(false);
    }
    let mut byte = [0];
    let nothing = source.read(&mut byte)? == 0;
    source.rewind()?;
    Ok(nothing)
}

fn explain(name: &str, error: SymphoniaError) -> DecodeError {
    let name = name.to_owned();
    match error {
        SymphoniaError::IoError(source) if source.kind() == std::io::ErrorKind::UnexpectedEof => {
            DecodeError::NotAudio { name }
        }
        SymphoniaError::IoError(source) => DecodeError::Io { name, source },
        SymphoniaError::Unsupported(_) => DecodeError::NotAudio { name },
        other => DecodeError::Corrupt {
            name,
            reason: other.to_string(),
        },
    }
}
