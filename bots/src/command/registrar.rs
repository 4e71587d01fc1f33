//! `callbot registrar`.

use callbot::Registrar as RegistrarService;
use clap::Args;

use super::options::Server;
use super::{Misuse, Outcome, runner};

/// Register telephones and browsers, and join their calls and texts: for tests and demos.
///
/// Two softphones and a bot meet on a laptop: each registers here with one of
/// the users below, and calls the others by their names. Calls are answered on
/// one leg and dialled on the other, so that a browser (WebSocket, DTLS, Opus)
/// and a telephone (UDP, G.711) understand each other. The phone that
/// registered last as a user rings.
///
/// This is no production server: users and registrations live in memory, and
/// there is no forking, no presence, no protection against floods. For that
/// there are Kamailio, FreeSWITCH and Asterisk.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  callbot registrar --listen udp://127.0.0.1:5060 --listen ws://127.0.0.1:8088 \\
      --user 1000:secret --user 1001:secret --user 600:secret
  PW=secret callbot echo --listen udp://127.0.0.1:0 --register sip:600@127.0.0.1 --password-env PW
  # then sip:1000@127.0.0.1 in a softphone, and a browser phone at ws://127.0.0.1:8088, call 600

--user NAME takes the password from the environment variable CALLBOT_USER_NAME.")]
pub(crate) struct Registrar {
    /// Who may register, and the password. Repeatable
    #[arg(long, value_name = "NAME:PASSWORD", required = true)]
    user: Vec<String>,

    /// What passwords are asked for in the name of
    #[arg(long, value_name = "NAME", default_value = "callbot")]
    realm: String,

    /// Offer SHA-256 before MD5; old phones give up when they see it
    #[arg(long)]
    sha_256: bool,

    #[command(flatten)]
    server: Server,
}

impl Registrar {
    pub(crate) fn run(&self) -> Outcome {
        if self.realm.contains(['"', '\\']) || self.realm.chars().any(char::is_control) {
            return Err(Misuse(
                "--realm: leave out quotes and backslashes".to_owned(),
            ));
        }
        let users = self.user.iter().map(|user| named(user));
        let users = users.collect::<Result<Vec<_>, _>>()?;
        let mut server = self.server.clone();
        // Each call has two legs.
        server.network.max_calls = server.network.max_calls.saturating_mul(2);
        runner::serve_with(&server, "registrar", |endpoint, reporter| {
            let registrar = match self.sha_256 {
                true => RegistrarService::with_sha_256(endpoint, &self.realm, users),
                false => RegistrarService::new(endpoint, &self.realm, users),
            };
            registrar.report_to(reporter)
        })
    }
}

/// A user and the password.
fn named(user: &str) -> Result<(String, String), Misuse> {
    let (name, password) = match user.split_once(':') {
        Some((name, password)) => (name, Some(password.to_owned())),
        None => (user, None),
    };
    let is_name = |c: char| c.is_ascii_alphanumeric() || "-_.!~*'()&=+$,".contains(c);
    if name.is_empty() || !name.chars().all(is_name) {
        return Err(Misuse(format!(
            "--user {name}: a name has letters, digits and -_.!~*'()&=+$, as in 1000:secret"
        )));
    }
    let variable = format!("CALLBOT_USER_{name}");
    match password.or_else(|| std::env::var(&variable).ok()) {
        Some(password) if !password.is_empty() => Ok((name.to_owned(), password)),
        _ => Err(Misuse(format!(
            "--user {name} has no password: write --user {name}:PASSWORD, or set {variable}"
        ))),
    }
}
