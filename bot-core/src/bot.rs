//! A bot: one call's life, as one async function.

use async_trait::async_trait;

use crate::call::IncomingCall;
use crate::error::Result;

/// Handles one call from its ringing to its end.
///
/// The call ends when [`Bot::on_call`] returns. Returning without an answer
/// refuses it with 480; an error or a panic before the answer is 500. When the
/// far end hangs up, whatever the bot awaits ends with
/// [`Error::HungUp`](crate::Error::HungUp), so that `?` ends the bot.
///
/// ```
/// use callbot_core::{Bot, IncomingCall, Result, async_trait};
///
/// struct Busy;
///
/// #[async_trait]
/// impl Bot for Busy {
///     async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
///         call.reject(486).await
///     }
/// }
/// ```
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no bot",
    note = "implement `Bot` with `async fn on_call(&mut self, call: IncomingCall) -> Result<()>` under #[async_trait]"
)]
pub trait Bot: Send {
    /// Handles the call.
    async fn on_call(&mut self, call: IncomingCall) -> Result<()>;
}

#[async_trait]
impl Bot for Box<dyn Bot> {
    async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
        (**self).on_call(call).await
    }
}
