//! A registrar for the examples: it asks for a password, and knows who registered where.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use callbot_core::{Bot, CallInfo, DigestAuth, Reply, Request, Service, answer_with, async_trait};

/// The password of everybody.
pub const PASSWORD: &str = "secret";

/// A PBX that only registers.
#[derive(Clone)]
pub struct Pbx {
    auth: DigestAuth,
    contacts: Arc<Mutex<HashMap<String, String>>>,
}

impl Pbx {
    pub fn new() -> Self {
        Self {
            auth: DigestAuth::realm("pbx").passwords(|_| Some(PASSWORD.to_owned())),
            contacts: Arc::default(),
        }
    }

    /// Where a user is called.
    pub fn contact(&self, user: &str) -> Option<String> {
        let contacts = self.contacts.lock().expect("no test panicked here");
        contacts.get(user).cloned()
    }
}

/// What stands between these two in a text.
fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let behind = text.split_once(from).map_or("", |(_, behind)| behind);
    behind.split(to).next().unwrap_or_default()
}

#[async_trait]
impl Service for Pbx {
    fn bot(&self, call: &CallInfo) -> Box<dyn Bot> {
        answer_with(|call| async move { call.reject(404).await }).bot(call)
    }

    async fn on_request(&self, request: Request) -> Reply {
        if request.method() != "REGISTER" {
            return Reply::status(405);
        }
        let user = match self.auth.check(&request) {
            Ok(user) => user,
            Err(challenge) => return challenge,
        };
        if user != between(request.header("To").unwrap_or_default(), "sip:", "@") {
            return Reply::status(403);
        }
        let contact = request.header("Contact").unwrap_or_default();
        let mut contacts = self.contacts.lock().expect("no test panicked here");
        if request.header("Expires") == Some("0") {
            contacts.remove(&user);
            return Reply::status(200);
        }
        contacts.insert(user, between(contact, "<", ">").to_owned());
        Reply::status(200).header("Contact", format!("{contact};expires=60"))
    }
}
