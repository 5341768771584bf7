//! Patterns of CLIENT_IDs.

use super::pattern::{Template, Values};
use std::fmt;

/// Longest pattern, in bytes.
const MAX_LEN: usize = 255;

/// CLIENT_IDs that a principal may use: a text with `${principal}` and `${subject}`, and `*` at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientIdPattern {
    text: String,
    template: Template,
    open: bool,
}

impl ClientIdPattern {
    /// Reads `till-7`, `till-*`, `${subject}` or `${principal}-*`.
    ///
    /// # Errors
    /// It could match no CLIENT_ID.
    pub fn parse(text: &str) -> Result<ClientIdPattern, String> {
        let fixed = text.strip_suffix('*').unwrap_or(text);
        let plain = |c: char| c.is_ascii_alphanumeric() || "._:@-".contains(c);
        let literal = fixed.replace("${principal}", "").replace("${subject}", "");
        if text.is_empty() || text.len() > MAX_LEN || !literal.chars().all(plain) {
            return Err(
                "is not a CLIENT_ID; write letters, digits and . _ : @ - with `${principal}` \
                        and `${subject}` anywhere, and `*` at the end"
                    .to_owned(),
            );
        }
        Ok(ClientIdPattern {
            template: Template::parse(fixed)?,
            open: fixed.len() < text.len(),
            text: text.to_owned(),
        })
    }

    /// Whether a client of this principal may call itself `client_id`.
    pub fn matches(&self, client_id: &str, principal: &str, subject: Option<&str>) -> bool {
        let values = Values {
            principal,
            subject,
            client_id: None,
        };
        let rest = self.template.strip(client_id, &values);
        rest.is_some_and(|rest| self.open || rest.is_empty())
    }
}

impl fmt::Display for ClientIdPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
