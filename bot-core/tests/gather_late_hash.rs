//! The finishing digit that follows the last digit of a number belongs to that number: it must not cut the next prompt.

use std::time::Duration;

use callbot_core::analysis::measure_tone;
use callbot_core::driver::memory::MemoryNetwork;
use callbot_core::{Endpoint, Gathered, Result, Tone, answer_with};

/// The number and then the choice as the bot gathered them, and how long the second prompt sounded.
async fn enter(digits: &str) -> Result<(Gathered, Gathered, Duration)> {
    let network = MemoryNetwork::new(1);
    let endpoint = |last| {
        Endpoint::builder()
            .memory(network.host([10, 0, 0, last]))
            .start()
    };
    let (bot, caller) = (endpoint(1).await?, endpoint(2).await?);
    let (send, mut gathered) = tokio::sync::mpsc::unbounded_channel();
    let service = answer_with(move |call| {
        let send = send.clone();
        async move {
            let call = call.answer().await?;
            let number = call.gather().digits(4).finish_on('#').await?;
            let prompt = Tone::new(&[1_000.0]).lasting(Duration::from_secs(2));
            let choice = call.gather().prompt(prompt).digits(1).await?;
            let _ = send.send((number, choice));
            call.hangup().await
        }
    });
    let serving = bot.clone();
    tokio::spawn(async move { serving.serve(service).await });

    let call = caller.dial("sip:bot@10.0.0.1").await?;
    let rate = call.audio_rate()?;
    let mut ear = call.audio_in()?;
    let listening = tokio::spawn(async move {
        let mut heard = Vec::new();
        while let Some(frame) = ear.next().await {
            heard.extend_from_slice(frame.samples());
        }
        heard
    });
    // The bot may hang up while the last digit is still on its way.
    let _ = call.send_dtmf(digits).await;
    call.ended().await;
    let heard = listening.await.unwrap_or_default();
    let tone = measure_tone(&heard, rate, 1_000.0);
    let (number, choice) = gathered.recv().await.ok_or(callbot_core::Error::Closed)?;
    Ok((
        number,
        choice,
        tone.map(|tone| tone.sounding()).unwrap_or_default(),
    ))
}

#[tokio::test(start_paused = true)]
async fn a_late_finishing_digit_does_not_cut_the_next_prompt() -> Result<()> {
    let (number, choice, prompt) = enter("1234#").await?;
    assert_eq!(number, Gathered::Digits("1234".into()));
    assert_eq!(
        choice,
        Gathered::Timeout {
            digits: String::new()
        }
    );
    assert!(prompt >= Duration::from_millis(1_950), "{prompt:?}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn another_digit_in_its_place_does_cut_it() -> Result<()> {
    let (number, choice, prompt) = enter("1234w5").await?;
    assert_eq!(number, Gathered::Digits("1234".into()));
    assert_eq!(choice, Gathered::Digits("5".into()));
    // It began with the 4 going down and ended half a second later.
    assert!(
        prompt > Duration::from_millis(300) && prompt < Duration::from_millis(750),
        "{prompt:?}"
    );
    Ok(())
}
