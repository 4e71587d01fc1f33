//! A bot that sends back what it hears.

use std::time::Duration;

use callbot_core::{Bot, IncomingCall, Result, async_trait};

/// Answers and sends back what it hears, until the caller hangs up.
///
/// By default every RTP packet goes back as it came, payload untouched: the
/// cheapest echo, and the one that shows what the network did. With
/// [`audio`](EchoBot::audio) the sound passes the jitter buffer, the decoder
/// and the encoder, as in any other bot; with [`delay`](EchoBot::delay) it
/// comes back so much later that a speaker hears himself.
///
/// ```
/// use callbot::EchoBot;
/// use std::time::Duration;
///
/// let service = || EchoBot::new().delay(Duration::from_millis(500));
/// # fn is_service(_: impl callbot_core::Service) {}
/// # is_service(service);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EchoBot {
    audio: Option<Duration>,
}

impl EchoBot {
    /// An echo of packets.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sends the sound back through decoder and jitter buffer, without further delay.
    pub fn audio(mut self) -> Self {
        self.audio.get_or_insert(Duration::ZERO);
        self
    }

    /// Sends the sound back this much later; implies [`audio`](EchoBot::audio).
    pub fn delay(mut self, delay: Duration) -> Self {
        self.audio = Some(delay);
        self
    }
}

#[async_trait]
impl Bot for EchoBot {
    async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
        let call = call.answer().await?;
        match self.audio {
            None => call.echo().await,
            Some(delay) => call.echo_audio(delay).await,
        }
    }
}
