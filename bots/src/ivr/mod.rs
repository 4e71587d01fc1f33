//! A bot that runs a flow: the interpreter of [`crate::flow`].

mod gather;
mod prompts;
mod run;
mod transfer;

use std::path::Path;
use std::sync::Arc;

use callbot_core::{Bot, IncomingCall, Result, Sound, async_trait};

use crate::flow::{self, Flow, Loaded, Problems, Surroundings};
use run::Run;

/// Runs a [`Flow`] with each caller.
///
/// ```no_run
/// use callbot::{IvrBot, load_flow};
/// use callbot_core::Endpoint;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let bot = IvrBot::new(load_flow("office.yaml".as_ref())?.flow);
/// let endpoint = Endpoint::builder().listen("udp://0.0.0.0:5060").start().await?;
/// endpoint.serve(move || bot.clone()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct IvrBot {
    flow: Arc<Flow>,
}

impl IvrBot {
    /// A bot for this flow, which all its calls share.
    pub fn new(flow: impl Into<Arc<Flow>>) -> Self {
        Self { flow: flow.into() }
    }

    /// The flow.
    pub fn flow(&self) -> &Flow {
        &self.flow
    }
}

#[async_trait]
impl Bot for IvrBot {
    async fn on_call(&mut self, call: IncomingCall) -> Result<()> {
        Run::new(&self.flow, call).through().await
    }
}

/// Reads and checks the flow at `path`: its words, that its built-in prompts
/// are those of this package, and that every audio file can be decoded, so
/// that what is wrong is known before the first call.
///
/// # Errors
/// All problems of the file, each with its line and column.
pub fn load_flow(path: &Path) -> Result<Loaded, Problems> {
    let builtins: Vec<&str> = callbot_media_files::all()
        .iter()
        .map(|file| file.name)
        .collect();
    let probe = |file: &Path| match Sound::from(file).check() {
        Ok(_) => Ok(()),
        Err(callbot_core::Error::Sound { why, .. }) => Err(why),
        Err(error) => Err(error.to_string()),
    };
    let surroundings = Surroundings {
        builtins: &builtins,
        probe: &probe,
    };
    flow::load(path, &surroundings)
}
