//! Runs each example as a newcomer does: the binary starts, says where it listens, takes a call over loopback UDP and
//! ends at SIGTERM.

mod support;

use std::io::{BufRead, BufReader, Read};
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use callbot_core::{Call, Endpoint, Error, Result, Tone, answer_with};

/// An example that runs; killed when the test fails.
struct Example {
    process: Child,
    output: BufReader<ChildStdout>,
}

impl Example {
    fn start(name: &str, args: &[&str]) -> Result<Self> {
        let here = std::env::current_exe()?;
        // target/debug/deps/binaries-... -> target/debug/examples/NAME
        let binary: PathBuf = here
            .parent()
            .and_then(|deps| deps.parent())
            .map(|profile| profile.join("examples").join(name))
            .ok_or_else(|| Error::other("the test has no folder"))?;
        let mut process = Command::new(&binary)
            .args(args)
            .env("PASSWORD", support::pbx::PASSWORD)
            .current_dir(support::folder(&format!("run-{name}")))
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| {
                let binary = binary.display();
                Error::other(format!(
                    "cannot run {binary}: {error}; `cargo test -p callbot-examples` builds it"
                ))
            })?;
        let output = process.stdout.take().map(BufReader::new);
        let output = output.ok_or_else(|| Error::other("no pipe"))?;
        Ok(Self { process, output })
    }

    /// Starts one that takes calls; gives the URI that it prints.
    fn listening(name: &str) -> Result<(Self, String)> {
        Self::listening_with(name, &[])
    }

    /// The same with more arguments.
    fn listening_with(name: &str, more: &[&str]) -> Result<(Self, String)> {
        let mut args = vec!["udp://127.0.0.1:0"];
        args.extend(more);
        let mut example = Self::start(name, &args)?;
        let mut line = String::new();
        example.output.read_line(&mut line)?;
        let uri = line.trim().strip_prefix("listening: dial ");
        let uri = uri.ok_or_else(|| Error::other(format!("{name} says {line:?}")))?;
        Ok((example, uri.to_owned()))
    }

    /// Ends it by SIGTERM, or waits for its end; it must succeed.
    fn end(mut self, terminate: bool) -> Result<String> {
        if terminate {
            let kill = format!("kill -TERM {}", self.process.id());
            Command::new("sh").args(["-c", &kill]).status()?;
        }
        let mut rest = String::new();
        self.output.read_to_string(&mut rest)?;
        let status = self.process.wait()?;
        assert!(status.success(), "it ended with {status}: {rest}");
        Ok(rest)
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn loopback() -> Result<Endpoint> {
    Ok(Endpoint::builder()
        .listen("udp://127.0.0.1:0")
        .start()
        .await?)
}

/// Calls the example and waits until something is heard, talking meanwhile.
async fn hears_something(name: &str) -> Result<()> {
    let (example, uri) = Example::listening(name)?;
    let caller = loopback().await?;
    let call = caller.dial(&uri).timeout(Duration::from_secs(10)).await?;
    let _voice = call.play(Tone::new(&[500.0])).looped().start().await?;
    first_sound(&call).await?;
    call.hangup().await?;
    example.end(true)?;
    Ok(())
}

async fn first_sound(call: &Call) -> Result<()> {
    let mut ear = call.audio_in()?;
    let heard = async {
        while let Some(frame) = ear.next().await {
            if frame.rms_dbov() > -50.0 {
                return Ok(());
            }
        }
        Err(Error::other("the call ended and nothing was heard"))
    };
    let limit = Duration::from_secs(10);
    let heard = tokio::time::timeout(limit, heard).await;
    heard.unwrap_or_else(|_| Err(Error::other("nothing was heard in 10 s")))
}

#[tokio::test]
async fn example_01_runs() -> Result<()> {
    hears_something("01_echo").await
}

#[tokio::test]
async fn example_02_runs() -> Result<()> {
    hears_something("02_answer_and_play").await
}

#[tokio::test]
async fn example_03_runs() -> Result<()> {
    hears_something("03_pin_check").await
}

#[tokio::test]
async fn example_04_runs() -> Result<()> {
    hears_something("04_record_message").await
}

#[tokio::test]
async fn example_05_runs_and_takes_messages() -> Result<()> {
    let (example, uri) = Example::listening("05_router")?;
    let caller = loopback().await?;
    let call = caller.dial(&uri).await?;
    call.hangup().await?;

    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    let here = socket.local_addr()?;
    let there = uri.rsplit('@').next().unwrap_or_default();
    let message = format!(
        "MESSAGE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK1\r\nMax-Forwards: 70\r\n\
         From: <sip:me@{here}>;tag=1\r\nTo: <{uri}>\r\nCall-ID: 1@{here}\r\nCSeq: 1 MESSAGE\r\n\
         Content-Type: text/plain\r\nContent-Length: 13\r\n\r\nHello, robot!"
    );
    socket.send_to(message.as_bytes(), there)?;
    let mut answer = [0; 1500];
    let length = socket.recv(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.starts_with("SIP/2.0 200 "), "{answer}");
    let said = example.end(true)?;
    assert!(said.contains("Hello, robot!"), "{said}");
    Ok(())
}

#[tokio::test]
async fn example_06_runs() -> Result<()> {
    let far_end = loopback().await?;
    let uri = far_end.uri("tone");
    let serving = far_end.clone();
    let serving = tokio::spawn(async move {
        serving
            .serve(answer_with(|call| async move {
                let call = call.answer().await?;
                call.play(Tone::new(&[440.0]).lasting(Duration::from_secs(60)))
                    .await
            }))
            .await
    });
    let example = Example::start("06_dial_and_listen", &[&uri, "1"])?;
    let said = tokio::task::spawn_blocking(move || example.end(false)).await;
    let said = said.map_err(Error::other)??;
    assert!(said.contains("loudest at 440 Hz"), "{said}");
    far_end.shutdown(Duration::ZERO).await;
    serving.await.map_err(Error::other)?
}

#[tokio::test]
async fn example_07_runs() -> Result<()> {
    hears_something("07_raw_audio").await
}

#[test]
fn example_08_runs() -> Result<()> {
    let said = Example::start("08_in_memory_test", &[])?.end(false)?;
    assert!(
        said.contains("BYE") && said.contains("a call of 60"),
        "{said}"
    );
    Ok(())
}

#[tokio::test]
async fn example_09_runs() -> Result<()> {
    let (example, uri) = Example::listening("09_early_media")?;
    let caller = loopback().await?;
    let call = caller.dial(uri.replace("closed", "open")).await?;
    first_sound(&call).await?;
    call.hangup().await?;
    example.end(true)?;
    Ok(())
}

#[tokio::test]
async fn example_10_runs() -> Result<()> {
    hears_something("10_bridge").await
}

#[tokio::test]
async fn example_13_runs() -> Result<()> {
    hears_something("13_texting_bot").await
}

#[tokio::test]
async fn example_14_runs() -> Result<()> {
    hears_something("14_hold_with_music").await
}

#[tokio::test]
async fn example_15_runs() -> Result<()> {
    hears_something("15_blind_transfer").await
}

#[tokio::test]
async fn example_16_runs() -> Result<()> {
    hears_something("16_attended_transfer").await
}

#[tokio::test]
async fn example_17_runs() -> Result<()> {
    hears_something("17_presence").await
}

/// A PBX on this machine, and its address.
async fn pbx() -> Result<(Endpoint, support::pbx::Pbx, String)> {
    let endpoint = loopback().await?;
    let pbx = support::pbx::Pbx::new();
    let (serving, service) = (endpoint.clone(), pbx.clone());
    tokio::spawn(async move { serving.serve(service).await });
    let uri = endpoint.uri("");
    let address = uri.trim_start_matches("sip:").to_owned();
    Ok((endpoint, pbx, address))
}

async fn registered(pbx: &support::pbx::Pbx, user: &str) -> Result<String> {
    for _ in 0..200 {
        if let Some(contact) = pbx.contact(user) {
            return Ok(contact);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Err(Error::other(format!("{user} has not registered in 10 s")))
}

#[tokio::test]
async fn example_11_registers_is_called_and_takes_its_registration_back() -> Result<()> {
    let (caller, pbx, address) = pbx().await?;
    let aor = format!("sip:1000@{address}");
    let (example, _) = Example::listening_with("11_register_with_a_pbx", &[&aor])?;
    let contact = registered(&pbx, "1000").await?;
    let call = caller.dial(contact).await?;
    let _voice = call.play(Tone::new(&[500.0])).looped().start().await?;
    first_sound(&call).await?;
    call.hangup().await?;
    let said = tokio::task::spawn_blocking(move || example.end(true)).await;
    let said = said.map_err(Error::other)??;
    assert!(
        said.contains(&format!("registered {aor} for 60 s")),
        "{said}"
    );
    assert!(said.contains(&format!("a call for {aor}")), "{said}");
    assert_eq!(pbx.contact("1000"), None);
    Ok(())
}

#[tokio::test]
async fn example_12_has_a_bot_for_each_account() -> Result<()> {
    let (caller, pbx, address) = pbx().await?;
    let [sales, support] = ["sales", "support"].map(|user| format!("sip:{user}@{address}"));
    let (example, _) = Example::listening_with("12_several_accounts", &[&sales, &support])?;
    let contact = registered(&pbx, "support").await?;
    for _ in 0..200 {
        if pbx.contact("sales").is_none() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(pbx.contact("sales"), None, "it was removed");
    let call = caller.dial(contact).await?;
    first_sound(&call).await?;
    call.ended().await;
    let said = tokio::task::spawn_blocking(move || example.end(true)).await;
    let said = said.map_err(Error::other)??;
    assert!(
        said.contains(&format!("{support} is called at sip:support@")),
        "{said}"
    );
    assert!(said.contains(&format!("{sales} is gone")), "{said}");
    Ok(())
}
