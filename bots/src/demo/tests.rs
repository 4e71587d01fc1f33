//! The whole demo over the in-memory network in paused time, well and with things going wrong.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use callbot_core::Endpoint;
use callbot_core::driver::memory::{Impairment, MemoryNetwork};

use super::check;
use super::ear::RATE;
use super::show::Show;
use super::stage::{Flows, Folder};
use super::words::Words;
use super::{Role, perform};

/// What was shown.
#[derive(Clone, Default)]
struct Screen(Arc<Mutex<Vec<u8>>>);

impl Write for Screen {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        let mut shown = self.0.lock().map_err(|_| std::io::ErrorKind::Other)?;
        shown.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// One demo: whether all was well, and what was shown.
async fn demo(
    impairment: Impairment,
    change: impl Fn(&mut Flows),
) -> Result<(bool, String), String> {
    let network = MemoryNetwork::new(3);
    // Signalling is spared: the checks are of what is heard.
    network.impair_ports(10_000..=20_000, impairment);
    let endpoint = |role| {
        let last = match role {
            Role::Ivr => 1,
            Role::Caller => 2,
        };
        let host = network.host([10, 0, 0, last]);
        Endpoint::builder().memory(host).seed(u64::from(last))
    };
    let temporary = tempfile::tempdir().map_err(|error| error.to_string())?;
    let folder = Folder::make(Some(temporary.path()))?;
    let mut flows = Flows::write(&folder)?;
    change(&mut flows);
    let screen = Screen::default();
    let show = Show::to(screen.clone(), false);
    let well = perform(&endpoint, &folder, flows, &show).await?;
    show.finish();
    let shown = screen.0.lock().map_err(|error| error.to_string())?;
    Ok((well, String::from_utf8_lossy(&shown).into_owned()))
}

/// The names of the checks that failed, in order.
fn failed(shown: &str) -> Vec<String> {
    let crosses = shown
        .lines()
        .filter_map(|line| line.trim().strip_prefix("✗ "));
    crosses
        .map(|line| line[..14.min(line.len())].trim().to_owned())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn the_demo_passes_and_catches_its_fault() -> Result<(), String> {
    let (well, shown) = demo(Impairment::default(), |_| {}).await?;
    assert!(well, "{shown}");
    // The one cross is the fault's.
    assert_eq!(failed(&shown), ["right prompt"], "{shown}");
    for part in [
        "INVITE",
        "180 Ringing",
        "ACK",
        "BYE",
        "hears key 1",
        "All 11 checks passed",
    ] {
        assert!(shown.contains(part), "no {part} in:\n{shown}");
    }
    assert!(
        !shown.contains('\x1b'),
        "colours where there is no terminal"
    );
    assert!(
        shown.lines().all(|line| line.chars().count() <= 90),
        "{shown}"
    );
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_fault_in_the_ivr_itself_fails_the_demo() -> Result<(), String> {
    let broken = |flows: &mut Flows| flows.right = flows.faulty.clone();
    let (well, shown) = demo(Impairment::default(), broken).await?;
    assert!(!well, "{shown}");
    let failed = failed(&shown);
    assert!(failed.contains(&"right prompt".to_owned()), "{shown}");
    assert!(failed.contains(&"right message".to_owned()), "{shown}");
    assert!(shown.contains("checks failed"), "{shown}");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_check_that_does_not_notice_the_fault_fails_the_demo() -> Result<(), String> {
    let blunt = |flows: &mut Flows| flows.faulty = flows.right.clone();
    let (well, shown) = demo(Impairment::default(), blunt).await?;
    assert!(!well, "{shown}");
    assert_eq!(failed(&shown), ["missed"], "{shown}");
    assert!(
        shown.contains("The planted fault was not caught"),
        "{shown}"
    );
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn lost_packets_are_noticed() -> Result<(), String> {
    let loss = Impairment {
        loss: 0.03,
        ..Impairment::default()
    };
    let (well, shown) = demo(loss, |_| {}).await?;
    assert!(!well, "{shown}");
    assert!(failed(&shown).contains(&"no loss".to_owned()), "{shown}");
    Ok(())
}

#[test]
fn a_message_is_judged_by_words_level_and_length() {
    let spoken = Words::of("caller-message").first(1, Duration::from_millis(2_070));
    let judge = |recorded: &[i16]| check::message(recorded, &spoken).map(|check| check.passed);
    let padded = |samples: &[i16]| {
        let silence = vec![0; RATE as usize / 2];
        [&silence, samples, &silence].concat()
    };
    let whole = spoken.samples();
    assert_eq!(judge(&padded(whole)), [true, true, true]);
    let soft: Vec<i16> = whole.iter().map(|sample| sample / 5 * 4).collect();
    assert_eq!(judge(&padded(&soft)), [true, false, true]);
    let other = Words::of("lines-closed").first(1, spoken.length());
    assert!(!judge(&padded(other.samples()))[0]);
    let twice = [whole, whole].concat();
    assert_eq!(judge(&padded(&twice)), [true, true, false]);
    assert_eq!(judge(&[0; 8_000]), [false, false, false]);
}

#[test]
fn beeps_and_keys_are_judged() {
    let beep = |hertz: f64, dbov, ms| {
        let tone = callbot_core::Tone::new(&[hertz]).level(dbov);
        let mut samples = vec![0; 800];
        samples.extend(tone.lasting(Duration::from_millis(ms)).samples(RATE));
        samples.extend([0; 800]);
        check::beep(&samples).passed
    };
    assert!(beep(1_000.0, -20.0, 400));
    assert!(!beep(1_000.0, -20.0, 300), "too short");
    assert!(!beep(1_000.0, -23.0, 400), "too soft");
    assert!(!beep(1_030.0, -20.0, 400), "too high");
    assert!(check::keys("12#", "12#").passed);
    assert!(!check::keys("12#", "112#").passed);
    assert!(!check::keys("12#", "1#2").passed);
}

#[test]
fn words_are_those_of_the_manifest() {
    assert_eq!(Words::of("welcome").short(40), "“Welcome to callbot.”");
    let menu = Words::of("menu").first(1, Duration::from_millis(1_550));
    assert_eq!(menu.short(40), "“Press one to leave a message.”");
    assert_eq!(menu.short(9), "“Press one…”");
    assert_eq!(menu.length(), Duration::from_millis(1_550));
    assert!(Words::all().count() > 10);
    assert!(Words::of("no such prompt").samples().is_empty());
}
