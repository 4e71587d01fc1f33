//! 07: raw audio in and out: hears the caller frame by frame, and answers with
//! a robot's voice.
//!
//! ```text
//! cargo run -p callbot-examples --example 07_raw_audio
//! ```
//!
//! This is where a speech recogniser, a synthesiser or a model is attached:
//! `audio_in` is a `Stream` of 20 ms frames, `audio_out` a `Sink` of them.

use std::f32::consts::TAU;
use std::process::ExitCode;
use std::time::Duration;

use callbot_core::{Bot, Endpoint, Frame, IncomingCall, Result, async_trait, run};

/// How far the robot shifts every frequency up and down, in hertz.
pub const SHIFT: f32 = 200.0;

/// Multiplies the caller's voice by a tone (ring modulation).
#[derive(Default)]
pub struct Robot {
    phase: f32,
}

impl Robot {
    fn distort(&mut self, frame: &mut Frame) {
        let step = SHIFT / frame.rate() as f32;
        for sample in frame.samples_mut() {
            *sample = (f32::from(*sample) * (TAU * self.phase).sin()) as i16;
            self.phase = (self.phase + step).fract();
        }
    }
}

#[async_trait]
impl Bot for Robot {
    async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
        let call = call.answer().await?;
        let mut ear = call.audio_in()?;
        let mut mouth = call.audio_out()?;

        // Ends when the caller hangs up: the stream ends, or `send` is an error.
        let mut heard = 0;
        while let Some(mut frame) = ear.next().await {
            if heard % 50 == 0 {
                println!("{:4} s  {}", heard / 50, meter(frame.rms_dbov()));
            }
            heard += 1;
            self.distort(&mut frame);
            mouth.send(frame).await?;
        }
        Ok(())
    }
}

/// A level as a bar, from -60 to 0 dBov.
pub fn meter(dbov: f32) -> String {
    let bars = ((dbov.clamp(-60.0, 0.0) + 60.0) / 3.0) as usize;
    format!("{:<20} {dbov:6.1} dBov", "#".repeat(bars))
}

fn main() -> ExitCode {
    run(async {
        let listen = std::env::args().nth(1);
        let listen = listen.unwrap_or_else(|| "udp://0.0.0.0:5060".to_owned());
        let endpoint = Endpoint::builder().listen(listen).start().await?;
        println!("listening: dial {}", endpoint.uri("robot"));
        endpoint
            .serve_until_signal(Robot::default, Duration::from_secs(5))
            .await
    })
}
