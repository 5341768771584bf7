//! `mcpd token`: credentials for the admin API, and for clients.

use super::exit::Exit;
use super::output::{Output, complain, settle};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, Subcommand};
use serde_json::json;
use sha2::{Digest, Sha256};

/// Random bytes of a token: too many to guess, whatever the hash.
const BYTES: usize = 32;

const EXAMPLES: &str = "Examples:
  mcpd token new --name ops --scopes read,operate
  umask 077; mcpd token new --name ci --scopes read,routes > ci.token
  mcpd routes get --token-file ci.token
  umask 077; mcpd token new --name till-7 > till.token
  mcpd send echo hello --token-file till.token";

/// Arguments of `mcpd token`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Token {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token: it goes to standard output, the server's entry for it to standard error
    New(New),
}

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
struct New {
    /// Who it is for, 1 to 63 of a-z 0-9 . _ - (no default); the server's log names it
    #[arg(long, value_parser = name)]
    name: String,
    /// What it is good for in the admin API, divided by commas (default: a token for a client of the
    /// data port): read: look at everything; routes, handlers, auth: change those; operate: drain, close
    /// connections, change logging and sampling
    #[arg(long, value_delimiter = ',', value_parser = ["read", "routes", "handlers", "auth", "operate"])]
    scopes: Vec<String>,
    /// Print one JSON object with `token` and `entry` (default: text)
    #[arg(long)]
    json: bool,
}

fn name(text: &str) -> Result<String, String> {
    match crate::router::document::is_name(text) {
        true => Ok(text.to_owned()),
        false => Err("a name is 1 to 63 of a-z 0-9 . _ -".to_owned()),
    }
}

pub(super) fn run(args: &Token) -> Exit {
    let Command::New(args) = &args.command;
    let mut bytes = [0; BYTES];
    if let Err(error) = getrandom::fill(&mut bytes) {
        complain(&format!(
            "cannot make a token: the system has no random numbers: {error}"
        ));
        return Exit::Internal;
    }
    args.show(&URL_SAFE_NO_PAD.encode(bytes))
}

impl New {
    fn show(&self, token: &str) -> Exit {
        let digest = Sha256::digest(token.as_bytes());
        let sha256: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let mut scopes: Vec<&str> = Vec::new();
        for scope in &self.scopes {
            if !scopes.contains(&scope.as_str()) {
                scopes.push(scope);
            }
        }
        let output = Output::new();
        if self.json {
            let mut entry = json!({"name": self.name, "sha256": sha256});
            if !scopes.is_empty() {
                entry["scopes"] = json!(scopes);
            }
            return settle(
                output.json(&json!({"token": token, "entry": entry})),
                Exit::Ok,
            );
        }
        let written = output.line(token);
        complain(&self.told(&sha256, &scopes));
        settle(written, Exit::Ok)
    }

    /// What to do with its hash.
    fn told(&self, sha256: &str, scopes: &[&str]) -> String {
        let (whose, rest) = match scopes {
            [] => (
                "its principal in the file of auth.principals",
                String::new(),
            ),
            some => (
                "the file of admin.tokens_file",
                format!(", scopes: [{}]", some.join(", ")),
            ),
        };
        format!(
            "the line above is the token, shown this once; {whose} gets:\n\
             tokens:\n  - {{name: {:?}, sha256: \"{sha256}\"{rest}}}",
            self.name
        )
    }
}
