//! Running a program whose whole work is an endpoint.
//!
//! A bot's crate needs no other dependency than this one: [`run`] brings the
//! runtime, and [`Endpoint::serve_until_signal`] the end that an operator
//! expects of a service.

use std::fmt::Display;
use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::error::Result;
use crate::service::Service;

/// Runs a program's async main on a runtime of its own, one thread a core.
///
/// An error is written to standard error in its own words, and the exit code
/// is 1. Programs that bring a tokio runtime (`#[tokio::main]`) need it not.
///
/// ```no_run
/// use callbot_core::{Endpoint, answer_with, run};
/// use std::process::ExitCode;
/// use std::time::Duration;
///
/// fn main() -> ExitCode {
///     run(async {
///         let endpoint = Endpoint::builder().listen("udp://0.0.0.0:5060").start().await?;
///         let echo = answer_with(|call| async move { call.answer().await?.echo().await });
///         endpoint.serve_until_signal(echo, Duration::from_secs(5)).await
///     })
/// }
/// ```
pub fn run<E: Display>(main: impl Future<Output = Result<(), E>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot start the async runtime: {error}")),
    };
    match runtime.block_on(main) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn Display) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

/// Resolves at Ctrl-C (SIGINT) or SIGTERM. Cancel safe; signals that came
/// before the first poll are not seen.
///
/// From the first call on, neither signal ends the process by itself.
pub async fn shutdown_signal() {
    use tokio::signal::unix::{SignalKind, signal};

    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        tracing::warn!("signals cannot be caught here: only a kill ends the program");
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

impl Endpoint {
    /// Gives each call a bot of its own, until Ctrl-C or SIGTERM: then it
    /// takes no more calls, lets those that stand finish for `drain`, hangs up
    /// the rest and waits until recordings are whole. A second signal cuts the
    /// waiting short.
    ///
    /// # Errors
    /// None today; the result lets `main` end with it.
    pub async fn serve_until_signal(&self, service: impl Service, drain: Duration) -> Result<()> {
        tokio::select! {
            biased;
            () = shutdown_signal() => {}
            served = self.serve(service) => return served,
        }
        tokio::select! {
            () = self.shutdown(drain) => {}
            () = shutdown_signal() => self.shutdown(Duration::ZERO).await,
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Error, StartError};

    #[test]
    fn an_error_is_the_exit_code() {
        // Both kinds of error that a main meets become one without annotations.
        let start = || Err(StartError::RtpPorts { first: 1, last: 1 });
        let code = |fails| {
            run(async move {
                if fails {
                    start()?;
                }
                Ok::<(), Error>(())
            })
        };
        assert_eq!(
            format!("{:?}", code(true)),
            format!("{:?}", ExitCode::FAILURE)
        );
        assert_eq!(
            format!("{:?}", code(false)),
            format!("{:?}", ExitCode::SUCCESS)
        );
    }
}
