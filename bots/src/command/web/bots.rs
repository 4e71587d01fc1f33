//! The bots behind the page, by the user part of the called URI, and how the page lists them.

use std::path::Path;
use std::time::Duration;

use callbot::flow::{self, Surroundings};
use callbot::{EchoBot, IvrBot, load_flow};
use callbot_core::{
    Bot, IncomingCall, RecordEnd, Result, Router, Sound, Tone, answer_with, async_trait,
};
use callbot_media_files as sounds;
use serde::Serialize;

use super::{Misuse, music};

/// The demo's flow, in which `@MESSAGE@` stands for the file of the message.
const DEMO_FLOW: &str = include_str!("../../demo/flow.yaml");
/// The longest message.
const MESSAGE: Duration = Duration::from_secs(60);
/// How much silence ends it.
const SILENCE: Duration = Duration::from_secs(3);

/// A bot as the page shows it.
#[derive(Clone, Debug, Serialize)]
struct Card {
    user: &'static str,
    title: String,
    about: String,
    /// One of the page's drawings.
    icon: &'static str,
    /// Keys, and what they do.
    keys: Vec<(&'static str, &'static str)>,
}

/// What is offered.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    cards: Vec<Card>,
    ivr: IvrBot,
    messages: String,
}

impl Offer {
    /// All bots: with the flow at `ivr`, or the demo's, and messages in the folder `out`.
    pub(super) fn new(ivr: Option<&Path>, out: &Path) -> std::result::Result<Self, Misuse> {
        let messages = format!("{}/{{date}}-{{time}}-{{call_id}}.wav", out.display());
        let (ivr, card) = match ivr {
            Some(path) => own_flow(path)?,
            None => demo_flow(&messages)?,
        };
        let card_of = |user, icon, title: &str, about: &str, keys: &[_]| Card {
            user,
            title: title.to_owned(),
            about: about.to_owned(),
            icon,
            keys: keys.to_vec(),
        };
        let cards = vec![
            card_of(
                "echo",
                "echo",
                "Echo",
                "Repeats you, half a second later",
                &[],
            ),
            card,
            card_of(
                "record",
                "record",
                "Answering machine",
                "Takes a message and plays it back",
                &[("#", "ends the message")],
            ),
            card_of(
                "music",
                "music",
                "Player",
                "Music, speech and tones",
                &[
                    ("1", "music"),
                    ("2", "speech"),
                    ("3", "1 kHz"),
                    ("4", "ringing"),
                ],
            ),
        ];
        Ok(Self {
            cards,
            ivr,
            messages,
        })
    }

    /// What the page reads as `/bots.json`.
    pub(super) fn to_json(&self) -> String {
        serde_json::json!({ "version": env!("CARGO_PKG_VERSION"), "bots": self.cards }).to_string()
    }

    /// Picks the bot that is called; 404 for a name that is none.
    pub(super) fn service(&self) -> Router {
        let (ivr, messages) = (self.ivr.clone(), self.messages.clone());
        Router::new()
            .number("echo", || EchoBot::new().delay(Duration::from_millis(500)))
            .number("ivr", move || ivr.clone())
            .number("record", move || AnsweringMachine {
                messages: messages.clone(),
            })
            .number("music", || Player)
            .otherwise(answer_with(|call: IncomingCall| async move {
                call.reject(404).await
            }))
    }
}

fn own_flow(path: &Path) -> std::result::Result<(IvrBot, Card), Misuse> {
    let loaded = load_flow(path).map_err(|problems| Misuse(problems.to_string()))?;
    if !loaded.warnings.is_empty() {
        eprintln!("{}", loaded.warnings);
    }
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let card = Card {
        user: "ivr",
        title: loaded.flow.name.clone().unwrap_or_else(|| "IVR".to_owned()),
        about: format!("The flow of {file}"),
        icon: "menu",
        keys: Vec::new(),
    };
    Ok((IvrBot::new(loaded.flow), card))
}

fn demo_flow(messages: &str) -> std::result::Result<(IvrBot, Card), Misuse> {
    // A single quote within single quotes is doubled in YAML.
    let text = DEMO_FLOW.replace("@MESSAGE@", &messages.replace('\'', "''"));
    let builtins: Vec<&str> = sounds::all().iter().map(|file| file.name).collect();
    let surroundings = Surroundings {
        builtins: &builtins,
        probe: &|_| Ok(()),
    };
    let loaded = flow::parse("--out", Path::new(""), text.as_bytes(), &surroundings)
        .map_err(|problems| Misuse(problems.to_string()))?;
    let card = Card {
        user: "ivr",
        title: "Menu".to_owned(),
        about: "The demo’s IVR: prompts and keys".to_owned(),
        icon: "menu",
        keys: vec![
            ("1", "leave a message"),
            ("2", "the time"),
            ("3", "enter a PIN"),
            ("9", "again"),
        ],
    };
    Ok((IvrBot::new(loaded.flow), card))
}

fn prompt(name: &'static str, bytes: &'static [u8]) -> Sound {
    Sound::from_static(name, bytes)
}

/// Takes one message and plays it back.
struct AnsweringMachine {
    messages: String,
}

#[async_trait]
impl Bot for AnsweringMachine {
    async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
        let call = call.answer().await?;
        call.play(prompt("leave-a-message.wav", sounds::LEAVE_A_MESSAGE))
            .await?;
        call.play(Tone::beep()).await?;
        let message = call
            .record(self.messages.as_str())
            .finish_on('#')
            .silence(SILENCE)
            .max(MESSAGE)
            .await?;
        if let RecordEnd::HungUp(_) = message.end {
            return Ok(());
        }
        call.play(prompt("you-said.wav", sounds::YOU_SAID)).await?;
        call.play(message.path).await?;
        call.play(prompt("thank-you.wav", sounds::THANK_YOU))
            .await?;
        call.hangup().await
    }
}

/// Plays what the last key says, over and over.
struct Player;

#[async_trait]
impl Bot for Player {
    async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
        let call = call.answer().await?;
        let mut sound = music::sound();
        loop {
            let playing = call.play(&sound).looped().start().await?;
            let key = call.next_digit().await?;
            playing.stop().await?;
            sound = match key {
                '1' => music::sound(),
                '2' => prompt("welcome.wav", sounds::WELCOME),
                '3' => Tone::new(&[1000.0]).into(),
                '4' => Tone::ringback().into(),
                _ => continue,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_lists_what_the_server_routes() {
        let offer =
            Offer::new(None, Path::new("it's here")).unwrap_or_else(|why| panic!("{why:?}"));
        let listed: serde_json::Value = serde_json::from_str(&offer.to_json()).unwrap();
        let users: Vec<_> = listed["bots"]
            .as_array()
            .unwrap()
            .iter()
            .map(|bot| &bot["user"])
            .collect();
        assert_eq!(users, ["echo", "ivr", "record", "music"]);
        assert_eq!(listed["bots"][1]["keys"][0][0], "1");
    }
}
