//! 11: a bot that a PBX knows by a number.
//!
//! ```text
//! PASSWORD=secret cargo run -p callbot-examples --example 11_register_with_a_pbx -- \
//!     udp://0.0.0.0:5060 sip:1000@pbx.example.org
//! ```
//!
//! Whoever dials 1000 at the PBX reaches the bot, which says back what it hears.
//! It stays registered: before the registration ends, when the PBX comes back
//! after a restart, and when the connection to it breaks.

use std::process::ExitCode;
use std::time::Duration;

use callbot_core::{
    Account, DigestAlgorithm, Endpoint, EndpointBuilder, RegistrationStatus, Service, answer_with,
    run,
};

/// An echo that calls of the account come to.
pub fn service() -> impl Service {
    answer_with(|call| async move {
        println!("a call for {}", call.info().account().unwrap_or("nobody"));
        call.answer().await?.echo().await
    })
}

/// The account: its address is `sip:USER@DOMAIN`, and the domain is where it registers.
pub fn account(aor: &str, password: &str) -> Account {
    Account::new(aor)
        .password(password)
        .display_name("Echo")
        .expires(Duration::from_secs(120))
        // A PBX that offers nothing better than MD5 does not get to see what the password makes of it.
        .digest_at_least(DigestAlgorithm::Sha256)
}

/// Says how the registration fares, until the endpoint is gone.
pub async fn report(endpoint: Endpoint) {
    let Some((aor, mut status)) = endpoint.watch_registrations().pop() else {
        return;
    };
    loop {
        match &*status.borrow_and_update() {
            RegistrationStatus::Registered { expires } => {
                println!("registered {aor} for {} s", expires.as_secs());
            }
            RegistrationStatus::Failed { why } => println!("not registered: {why}"),
            _ => {}
        }
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// The endpoint for `LISTEN SIP-URI`, as the command line has them.
fn endpoint(mut args: impl Iterator<Item = String>) -> EndpointBuilder {
    let listen = args.next();
    let aor = args.next();
    let password = std::env::var("PASSWORD").unwrap_or_default();
    Endpoint::builder()
        .listen(listen.unwrap_or_else(|| "udp://0.0.0.0:5060".to_owned()))
        .account(account(
            aor.as_deref().unwrap_or("sip:1000@127.0.0.1"),
            &password,
        ))
}

fn main() -> ExitCode {
    run(async {
        let endpoint = endpoint(std::env::args().skip(1)).start().await?;
        println!("listening: dial {}", endpoint.uri("1000"));
        tokio::spawn(report(endpoint.clone()));
        endpoint
            .serve_until_signal(service(), Duration::from_secs(5))
            .await
    })
}
