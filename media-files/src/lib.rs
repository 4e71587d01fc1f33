//! Prompts and tones for telephone bots, as bytes: 8 kHz, 16-bit, mono WAV, speech at -20 dBov.
//!
//! Each file is a constant ([`WELCOME`], [`BEEP`]) and an entry of [`all`]; [`by_name`] finds one by the name of its file. What each
//! says, how long it is, how it was made and under which licence stands in [`MANIFEST`].
//!
//! ```
//! assert_eq!(callbot_media_files::by_name("beep").map(|f| f.bytes), Some(callbot_media_files::BEEP));
//! ```
//!
//! Invariant: `MANIFEST.toml`, the files and this list agree; a test reads all three.

/// One sound file of the package.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MediaFile {
    /// The file's name without folder and suffix, such as `leave-a-message`.
    pub name: &'static str,
    /// Where it lies, relative to the package, such as `prompts/leave-a-message.wav`.
    pub path: &'static str,
    /// The whole WAV file.
    pub bytes: &'static [u8],
}

/// The manifest, in TOML: one `[[file]]` table a file, with codec, rate, length, level, licence and origin.
pub const MANIFEST: &str = include_str!("../MANIFEST.toml");

/// Every file, in the order of the manifest.
pub fn all() -> &'static [MediaFile] {
    ALL
}

/// The file of that name, such as `menu` or `digit-7`.
pub fn by_name(name: &str) -> Option<&'static MediaFile> {
    ALL.iter().find(|file| file.name == name)
}

/// The spoken name of a telephone key, `0` to `9`, `*` or `#`; `None` for any other character.
pub fn key(key: char) -> Option<&'static [u8]> {
    Some(match key {
        '0' => DIGIT_0,
        '1' => DIGIT_1,
        '2' => DIGIT_2,
        '3' => DIGIT_3,
        '4' => DIGIT_4,
        '5' => DIGIT_5,
        '6' => DIGIT_6,
        '7' => DIGIT_7,
        '8' => DIGIT_8,
        '9' => DIGIT_9,
        '*' => STAR,
        '#' => HASH,
        _ => return None,
    })
}

/// Declares the constants and the list from one table, so that neither can lack a file.
macro_rules! files {
    ($($(#[$doc:meta])* $constant:ident = $folder:literal / $name:literal;)*) => {
        $($(#[$doc])* pub const $constant: &[u8] = include_bytes!(concat!("../", $folder, "/", $name, ".wav"));)*

        const ALL: &[MediaFile] = &[$(MediaFile {
            name: $name,
            path: concat!($folder, "/", $name, ".wav"),
            bytes: $constant,
        }),*];
    };
}

files! {
    /// “Welcome to callbot.”
    WELCOME = "prompts" / "welcome";
    /// “Press one to leave a message. Press two to hear the time. Press three to enter your pin. Press nine to hear this again.”
    MENU = "prompts" / "menu";
    /// “Please leave your message after the tone, then press the hash key.”
    LEAVE_A_MESSAGE = "prompts" / "leave-a-message";
    /// “Thank you. Your message has been recorded.”
    THANK_YOU = "prompts" / "thank-you";
    /// “Goodbye.”
    GOODBYE = "prompts" / "goodbye";
    /// “Sorry, that is not a valid choice.”
    WRONG_CHOICE = "prompts" / "wrong-choice";
    /// “Sorry, I did not hear anything.”
    NO_INPUT = "prompts" / "no-input";
    /// “Sorry, that was one try too many.”
    TOO_MANY_TRIES = "prompts" / "too-many-tries";
    /// “Please enter your four digit pin, then press the hash key.”
    ENTER_PIN = "prompts" / "enter-pin";
    /// “That pin is not correct.”
    WRONG_PIN = "prompts" / "wrong-pin";
    /// “Okay.”
    OK = "prompts" / "ok";
    /// “You entered”
    YOU_ENTERED = "prompts" / "you-entered";
    /// “This is your message.”
    YOU_SAID = "prompts" / "you-said";
    /// “Please hold the line.”
    PLEASE_HOLD = "prompts" / "please-hold";
    /// “All our agents are busy.”
    ALL_BUSY = "prompts" / "all-busy";
    /// “Our office is closed today. Please call again on Monday.”
    LINES_CLOSED = "prompts" / "lines-closed";
    /// “The time is”
    THE_TIME_IS = "prompts" / "the-time-is";
    /// “hundred hours”
    HUNDRED_HOURS = "prompts" / "hundred-hours";
    /// “and”
    AND = "prompts" / "and";
    /// “Hello, this is a test call. Please call me back on extension four two. Thank you, and goodbye.”
    CALLER_MESSAGE = "prompts" / "caller-message";
    /// “zero”
    DIGIT_0 = "prompts" / "digit-0";
    /// “one”
    DIGIT_1 = "prompts" / "digit-1";
    /// “two”
    DIGIT_2 = "prompts" / "digit-2";
    /// “three”
    DIGIT_3 = "prompts" / "digit-3";
    /// “four”
    DIGIT_4 = "prompts" / "digit-4";
    /// “five”
    DIGIT_5 = "prompts" / "digit-5";
    /// “six”
    DIGIT_6 = "prompts" / "digit-6";
    /// “seven”
    DIGIT_7 = "prompts" / "digit-7";
    /// “eight”
    DIGIT_8 = "prompts" / "digit-8";
    /// “nine”
    DIGIT_9 = "prompts" / "digit-9";
    /// “star”
    STAR = "prompts" / "star";
    /// “hash”
    HASH = "prompts" / "hash";
    /// “ten”
    NUMBER_10 = "prompts" / "number-10";
    /// “eleven”
    NUMBER_11 = "prompts" / "number-11";
    /// “twelve”
    NUMBER_12 = "prompts" / "number-12";
    /// “thirteen”
    NUMBER_13 = "prompts" / "number-13";
    /// “fourteen”
    NUMBER_14 = "prompts" / "number-14";
    /// “fifteen”
    NUMBER_15 = "prompts" / "number-15";
    /// “sixteen”
    NUMBER_16 = "prompts" / "number-16";
    /// “seventeen”
    NUMBER_17 = "prompts" / "number-17";
    /// “eighteen”
    NUMBER_18 = "prompts" / "number-18";
    /// “nineteen”
    NUMBER_19 = "prompts" / "number-19";
    /// “twenty”
    NUMBER_20 = "prompts" / "number-20";
    /// “thirty”
    NUMBER_30 = "prompts" / "number-30";
    /// “forty”
    NUMBER_40 = "prompts" / "number-40";
    /// “fifty”
    NUMBER_50 = "prompts" / "number-50";
    /// A 1000 Hz beep, for "speak now".
    BEEP = "tones" / "beep";
    /// 440 Hz, steady.
    TONE_440 = "tones" / "tone-440";
    /// 1000 Hz, steady.
    TONE_1000 = "tones" / "tone-1000";
    /// European ringing tone, one period.
    RINGBACK = "tones" / "ringback";
    /// European busy tone.
    BUSY = "tones" / "busy";
    /// One second of digital silence.
    SILENCE = "tones" / "silence";
}
