//! The transfer step: the caller is sent to somebody else, or stays.

use std::fmt::Write as _;
use std::future::IntoFuture;

use callbot_core::{Call, Result};

use super::run::{Next, Run};
use crate::flow;

impl Run<'_> {
    pub(super) async fn transfer(&mut self, transfer: &flow::Transfer) -> Result<Next> {
        let call = self.answered().await?;
        let to = transfer
            .to
            .render(|variable| escaped(&self.value(variable)));
        let outcome = if transfer.attended {
            self.consult(&call, &to, transfer).await
        } else {
            call.transfer(&to).await.map(drop)
        };
        match outcome {
            Ok(()) => {
                self.over();
                Ok(Next::End)
            }
            // The caller did not wait.
            Err(error) if call.hangup_cause().is_some() => Err(error),
            Err(error) => {
                tracing::info!(call_id = call.call_id(), to, %error, "not transferred");
                Ok(transfer.on_failure.map_or(Next::Step, Next::State))
            }
        }
    }

    /// Calls there, and hands the caller over when it is answered.
    async fn consult(&self, call: &Call, to: &str, transfer: &flow::Transfer) -> Result<()> {
        let sounds = self.sounds(&transfer.prompt);
        let calling = call.consult(to).timeout(transfer.timeout);
        let music = async {
            if sounds.is_empty() {
                return std::future::pending::<Result<()>>().await;
            }
            loop {
                self.play_all(call, &sounds, false).await?;
                // Sounds that cannot be opened must not be tried without a pause.
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
        };
        let other = tokio::select! {
            biased;
            _ = call.ended() => return Err(callbot_core::Error::HungUp(call.ended().await)),
            answered = calling.into_future() => answered?,
            stopped = music => return stopped,
        };
        call.transfer_to(&other).await.map(drop)
    }
}

/// What came from outside, so that it stays within its part of a URI.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_alphanumeric() || b"+-_.*".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::escaped;

    #[test]
    fn a_caller_cannot_leave_the_user_part() {
        assert_eq!(escaped("+49 30#"), "+49%2030%23");
        assert_eq!(escaped("a@evil?Replaces=x"), "a%40evil%3FReplaces%3Dx");
    }
}
