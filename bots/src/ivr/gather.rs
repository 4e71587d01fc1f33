//! The gather step: prompts, tries, and where the digits lead.

use callbot_core::{Call, Error, Gathered, Result, Sound};

use super::run::{Next, Run};
use crate::flow;

impl Run<'_> {
    pub(super) async fn gather(&mut self, rules: &flow::Gather) -> Result<Next> {
        let call = self.answered().await?;
        for attempt in 1..=rules.tries {
            let prompt = self.sounds(&rules.prompt);
            let flush = rules.flush && attempt == 1;
            let (last, again) = match digits(&call, rules, prompt, flush).await? {
                Gathered::Digits(digits) => {
                    let target = rules.target(&digits);
                    self.digits = digits;
                    return Ok(target.map_or(Next::Step, Next::State));
                }
                Gathered::Timeout { digits } => {
                    self.digits = digits;
                    (rules.on_timeout, &rules.timeout_prompt)
                }
                Gathered::Invalid { digits } => {
                    self.digits = digits;
                    (rules.on_invalid, &rules.invalid_prompt)
                }
            };
            if attempt == rules.tries {
                return Ok(last.map_or(Next::Step, Next::State));
            }
            let sounds = self.sounds(again);
            self.play_all(&call, &sounds, rules.barge_in).await?;
        }
        Ok(Next::Step)
    }
}

/// One try.
async fn digits(
    call: &Call,
    rules: &flow::Gather,
    prompt: Vec<Sound>,
    flush: bool,
) -> Result<Gathered> {
    let finish_on: String = rules.finish_on.iter().collect();
    let ask = || {
        let valid = rules.clone();
        call.gather()
            .between(rules.min_digits, rules.max_digits)
            .finish_on_any(finish_on.as_str())
            .first_digit(rules.first_digit)
            .inter_digit(rules.inter_digit)
            .barge_in(rules.barge_in)
            .matching(move |digits| valid.accepts(digits))
    };
    let mut gather = ask();
    if flush {
        gather = gather.flush();
    }
    for sound in prompt {
        gather = gather.prompt(sound);
    }
    match gather.await {
        Err(error @ Error::Sound { .. }) => {
            // A file that was there at the start and is no longer: the caller
            // may know the menu all the same.
            tracing::error!(call_id = call.call_id(), %error, "asking without the prompt");
            ask().await
        }
        gathered => gathered,
    }
}
