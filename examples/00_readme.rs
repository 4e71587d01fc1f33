//! Asks for a PIN, records the call, and beeps or buzzes.
use callbot_core::{Endpoint, Gathered, IncomingCall, Result, Tone, answer_with, run};
use std::{process::ExitCode, time::Duration};

/// One call, from its ringing to its end.
pub async fn check_pin(call: IncomingCall) -> Result<()> {
    let call = call.answer().await?;
    let _recording = call.record("rec/{call_id}.wav").start().await?;
    let reply = match call.gather().prompt(Tone::beep()).digits(4).await? {
        Gathered::Digits(pin) if pin == "1234" => Tone::new(&[660.0, 880.0]),
        _ => Tone::busy(),
    };
    call.play(reply.lasting(Duration::from_secs(2))).await?;
    call.hangup().await
}

fn main() -> ExitCode {
    run(async {
        let endpoint = Endpoint::builder().start().await?; // UDP and TCP, port 5060
        println!("listening: dial {}", endpoint.uri("pin"));
        let (service, drain) = (answer_with(check_pin), Duration::from_secs(5));
        endpoint.serve_until_signal(service, drain).await
    })
}
