//! 06: the caller's side: dials, listens, presses digits, says what it heard.
//!
//! ```text
//! cargo run -p callbot-examples --example 06_dial_and_listen sip:600@127.0.0.1:5060 ['12w#']
//! ```

use std::process::ExitCode;
use std::time::Duration;

use callbot_core::analysis::{dominant, level_dbov};
use callbot_core::{Call, Endpoint, Result, run};

/// What came from the far end.
pub struct Heard {
    /// Mono.
    pub samples: Vec<i16>,
    /// In hertz.
    pub rate: u32,
}

/// Listens for this long. Frames of 20 ms come 50 times a second, silence too.
pub async fn listen(call: &Call, time: Duration) -> Result<Heard> {
    let rate = call.audio_rate()?;
    let wanted = (time.as_secs_f64() * f64::from(rate)) as usize;
    let mut samples = Vec::with_capacity(wanted);
    let mut ear = call.audio_in()?;
    while samples.len() < wanted
        && let Some(frame) = ear.next().await
    {
        samples.extend_from_slice(frame.samples());
    }
    Ok(Heard { samples, rate })
}

/// One scripted call, as a person would make it.
pub async fn visit(endpoint: &Endpoint, uri: &str, digits: &str) -> Result<Heard> {
    // `start` gives a call that rings; awaiting `dial` itself waits for the answer.
    let ringing = endpoint
        .dial(uri)
        .timeout(Duration::from_secs(30))
        .start()
        .await?;
    let status = ringing.ringing().await?;
    println!("{status} from {uri}");

    let call = ringing.answered().await?;
    let heard = listen(&call, Duration::from_secs(2)).await?;
    if !digits.is_empty() {
        call.send_dtmf(digits).await?;
    }
    if let Some(figures) = call.statistics().await {
        println!(
            "{} packets, {:.1}% lost, jitter {:.1} ms",
            figures.packets_received, figures.loss_percent, figures.jitter_ms
        );
    }
    call.hangup().await?;
    Ok(heard)
}

async fn script() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let uri = args
        .next()
        .unwrap_or_else(|| "sip:600@127.0.0.1:5060".into());
    let digits = args.next().unwrap_or_default();

    // Port 0 is any free port: a caller needs no fixed one.
    let endpoint = Endpoint::builder()
        .listen("udp://0.0.0.0:0")
        .start()
        .await?;
    let heard = visit(&endpoint, &uri, &digits).await?;
    print!("heard {:.1} dBov", level_dbov(&heard.samples));
    match dominant(&heard.samples, heard.rate) {
        Some(peak) => println!(", loudest at {:.0} Hz", peak.frequency),
        None => println!(", silence"),
    }
    endpoint.shutdown(Duration::ZERO).await;
    Ok(())
}

fn main() -> ExitCode {
    run(script())
}
