//! 12: several numbers in one program, added and removed while it runs.
//!
//! ```text
//! PASSWORD=secret cargo run -p callbot-examples --example 12_several_accounts -- \
//!     udp://0.0.0.0:5060 sip:sales@pbx.example.org sip:support@pbx.example.org
//! ```
//!
//! Each account has a bot of its own; a router picks it by the account that a
//! call came for. Two hundred accounts are no different from two: they share
//! one connection to the PBX, and register one after the other.

use std::process::ExitCode;
use std::time::Duration;

use callbot_core::{Account, Endpoint, Result, Router, Service, Tone, answer_with, run};

/// Each account is answered by a tone of its own: 440 Hz for the first, 540 for the second, and so on.
pub fn service(accounts: &[String]) -> impl Service {
    let mut router = Router::new();
    for (index, aor) in accounts.iter().enumerate() {
        let hertz = 440.0 + 100.0 * index as f64;
        let bot = answer_with(move |call| async move {
            let call = call.answer().await?;
            call.play(Tone::new(&[hertz]).lasting(Duration::from_secs(1)))
                .await?;
            call.hangup().await
        });
        router = router.account(aor, bot);
    }
    router
}

/// Registers them all, and waits until each has been answered for.
pub async fn register(endpoint: &Endpoint, accounts: &[String], password: &str) -> Result<()> {
    for aor in accounts {
        endpoint.add_account(Account::new(aor).password(password))?;
    }
    endpoint.registered().await
}

/// Shows how each account stands.
pub fn show(endpoint: &Endpoint) {
    for account in endpoint.registrations() {
        let left = account.expires_in.unwrap_or_default().as_secs();
        let contact = account.contact.unwrap_or_default();
        println!("{} is called at {contact} for {left} s", account.aor);
    }
}

fn main() -> ExitCode {
    run(async {
        let mut args = std::env::args().skip(1);
        let listen = args.next();
        let listen = listen.unwrap_or_else(|| "udp://0.0.0.0:5060".to_owned());
        let accounts: Vec<String> = args.collect();
        let password = std::env::var("PASSWORD").unwrap_or_default();
        let endpoint = Endpoint::builder().listen(listen).start().await?;
        println!("listening: dial {}", endpoint.uri("sales"));
        register(&endpoint, &accounts, &password).await?;
        show(&endpoint);
        if let Some(first) = accounts.first() {
            // One that is no longer wanted; its calls would go on.
            endpoint.remove_account(first).await?;
            println!("{first} is gone");
        }
        endpoint
            .serve_until_signal(service(&accounts), Duration::from_secs(5))
            .await
    })
}
