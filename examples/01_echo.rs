//! 01: says back whatever the caller says.
//!
//! ```text
//! cargo run -p callbot-examples --example 01_echo
//! ```
//!
//! Then dial the URI that it prints from any softphone. Another place to
//! listen may follow after `--`, such as `tcp://192.168.1.2:5070`.

use std::process::ExitCode;
use std::time::Duration;

use callbot_core::{Endpoint, Service, answer_with, run};

/// A bot that needs no state is a closure. This one answers and sends every
/// packet back as it came, until the caller hangs up.
pub fn service() -> impl Service {
    answer_with(|call| async move {
        let call = call.answer().await?;
        call.echo().await
    })
}

fn main() -> ExitCode {
    run(async {
        let listen = std::env::args().nth(1);
        let listen = listen.unwrap_or_else(|| "udp://0.0.0.0:5060".to_owned());
        let endpoint = Endpoint::builder().listen(listen).start().await?;
        println!("listening: dial {}", endpoint.uri("echo"));

        // Ctrl-C or SIGTERM ends it; calls that stand get 5 s to finish.
        let drain = Duration::from_secs(5);
        endpoint.serve_until_signal(service(), drain).await
    })
}
