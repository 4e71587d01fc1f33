//! Reads the step that sends the caller elsewhere.

use std::time::Duration;

use super::model::Transfer;
use super::read::{Field, Reader, shown};
use super::text::Template;
use super::tree::Value;

impl Reader<'_> {
    pub(crate) fn transfer(&mut self, field: Field<'_>) -> Option<Transfer> {
        const KNOWN: [&str; 5] = ["to", "attended", "prompt", "timeout", "on_failure"];
        let mut transfer = Transfer {
            to: Template::default(),
            attended: false,
            prompt: Vec::new(),
            timeout: Duration::from_secs(30),
            on_failure: None,
        };
        let to = if let Value::Map(_) = field.node.value {
            let fields = self.fields("`transfer`", field.node, &KNOWN)?;
            transfer.attended = fields
                .get("attended")
                .and_then(|f| self.flag(f))
                .unwrap_or(false);
            if let Some(prompt) = fields.get("prompt") {
                transfer.prompt = self.prompts(prompt)?;
            }
            if let Some(timeout) = fields.get("timeout") {
                transfer.timeout = self.some_time(timeout, "nobody could answer")?;
            }
            transfer.on_failure = match fields.get("on_failure") {
                Some(state) => Some(self.state(state)?),
                None => None,
            };
            for name in ["prompt", "timeout"] {
                if let Some(unused) = fields.get(name)
                    && !transfer.attended
                {
                    self.warning(
                        unused.at(),
                        format!("`{name}` is for an attended transfer; add `attended: true`, or take it out"),
                    );
                }
            }
            match fields.get("to") {
                Some(to) => to,
                None => {
                    self.error(
                        fields.at,
                        "`transfer` needs a `to`, as in `transfer: {to: 'sip:sales@pbx.example'}`",
                    );
                    return None;
                }
            }
        } else {
            field
        };
        let text = self.text(to, "'sip:sales@pbx.example'")?;
        let scheme = text
            .split_once(':')
            .map(|(scheme, _)| scheme.to_ascii_lowercase());
        let is_uri = matches!(scheme.as_deref(), Some("sip" | "sips" | "tel"))
            && !text.ends_with(':')
            && !text.contains(|c: char| c.is_whitespace() || "<>\"".contains(c));
        if !is_uri {
            self.error(
                to.at(),
                format!(
                    "`{}` is no SIP URI; write one like `sip:sales@pbx.example`",
                    shown(text)
                ),
            );
            return None;
        }
        transfer.to = self.ok(to.at(), Template::parse(text))?;
        Some(transfer)
    }
}
