//! What `media-files/` says and sounds: the texts of the prompts and the shape of the tones.
//!
//! A new prompt is one line here, one line in `media-files/src/lib.rs`, and a run of `cargo xtask prompts`.

use crate::prompts::{Speech, Tone};

const fn bot(name: &'static str, text: &'static str) -> Speech {
    Speech {
        name,
        voice: "slt",
        text,
        spelled: None,
    }
}

const fn spelled(name: &'static str, text: &'static str, spelled: &'static str) -> Speech {
    Speech {
        name,
        voice: "slt",
        text,
        spelled: Some(spelled),
    }
}

/// The spoken set.
pub(crate) const PROMPTS: &[Speech] = &[
    spelled("welcome", "Welcome to callbot.", "Welcome to call bot."),
    bot(
        "menu",
        "Press one to leave a message. Press two to hear the time. Press three to enter your pin. Press nine to hear this again.",
    ),
    bot(
        "leave-a-message",
        "Please leave your message after the tone, then press the hash key.",
    ),
    bot("thank-you", "Thank you. Your message has been recorded."),
    bot("goodbye", "Goodbye."),
    bot("wrong-choice", "Sorry, that is not a valid choice."),
    bot("no-input", "Sorry, I did not hear anything."),
    bot("too-many-tries", "Sorry, that was one try too many."),
    bot(
        "enter-pin",
        "Please enter your four digit pin, then press the hash key.",
    ),
    bot("wrong-pin", "That pin is not correct."),
    bot("ok", "Okay."),
    bot("you-entered", "You entered"),
    bot("you-said", "This is your message."),
    bot("please-hold", "Please hold the line."),
    bot("all-busy", "All our agents are busy."),
    bot(
        "lines-closed",
        "Our office is closed today. Please call again on Monday.",
    ),
    bot("the-time-is", "The time is"),
    bot("hundred-hours", "hundred hours"),
    bot("and", "and"),
    Speech {
        name: "caller-message",
        voice: "rms",
        text: "Hello, this is a test call. Please call me back on extension four two. Thank you, and goodbye.",
        spelled: None,
    },
    bot("digit-0", "zero"),
    bot("digit-1", "one"),
    bot("digit-2", "two"),
    bot("digit-3", "three"),
    bot("digit-4", "four"),
    bot("digit-5", "five"),
    bot("digit-6", "six"),
    bot("digit-7", "seven"),
    bot("digit-8", "eight"),
    bot("digit-9", "nine"),
    bot("star", "star"),
    bot("hash", "hash"),
    bot("number-10", "ten"),
    bot("number-11", "eleven"),
    bot("number-12", "twelve"),
    bot("number-13", "thirteen"),
    bot("number-14", "fourteen"),
    bot("number-15", "fifteen"),
    bot("number-16", "sixteen"),
    bot("number-17", "seventeen"),
    bot("number-18", "eighteen"),
    bot("number-19", "nineteen"),
    bot("number-20", "twenty"),
    bot("number-30", "thirty"),
    bot("number-40", "forty"),
    bot("number-50", "fifty"),
];

/// The computed set.
pub(crate) const TONES: &[Tone] = &[
    Tone {
        name: "beep",
        frequencies: &[1000.0],
        cadence: (400, 0),
        repeats: 1,
        purpose: "a 1000 Hz beep, for \\\"speak now\\\"",
    },
    Tone {
        name: "tone-440",
        frequencies: &[440.0],
        cadence: (4000, 0),
        repeats: 1,
        purpose: "440 Hz, steady",
    },
    Tone {
        name: "tone-1000",
        frequencies: &[1000.0],
        cadence: (4000, 0),
        repeats: 1,
        purpose: "1000 Hz, steady",
    },
    Tone {
        name: "ringback",
        frequencies: &[425.0],
        cadence: (1000, 4000),
        repeats: 1,
        purpose: "European ringing tone, one period",
    },
    Tone {
        name: "busy",
        frequencies: &[425.0],
        cadence: (500, 500),
        repeats: 4,
        purpose: "European busy tone",
    },
    Tone {
        name: "silence",
        frequencies: &[],
        cadence: (0, 1000),
        repeats: 1,
        purpose: "one second of digital silence",
    },
];
