//! Exit codes: what a script may conclude without reading a word.

use mcpd_client::{ErrorClass, ErrorCode, ErrorKind};
use std::process::ExitCode;

/// How a command ended. Numbers from 64 on follow `sysexits.h` where it has a fitting one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exit {
    Ok = 0,
    Executed = 1,
    Usage = 64,
    Routes = 65,
    Unreachable = 69,
    Internal = 70,
    Transient = 75,
    Protocol = 76,
    Permanent = 77,
    Unknown = 79,
    Interrupted = 130,
}

impl Exit {
    pub(super) const ALL: &[Exit] = &[
        Exit::Ok,
        Exit::Executed,
        Exit::Usage,
        Exit::Routes,
        Exit::Unreachable,
        Exit::Internal,
        Exit::Transient,
        Exit::Protocol,
        Exit::Permanent,
        Exit::Unknown,
        Exit::Interrupted,
    ];

    pub(super) fn code(self) -> u8 {
        self as u8
    }

    pub(super) fn meaning(self) -> &'static str {
        match self {
            Exit::Ok => "success",
            Exit::Executed => {
                "executed, but the handler said no or its result is not to be had; \
                 with `--exit-code`: there are differences; with `--wait`: not all servers have it"
            }
            Exit::Usage => "wrong usage or configuration; nothing was sent or bound",
            Exit::Routes => "the routes document is missing, invalid or asks for too much",
            Exit::Unreachable => {
                "the server cannot be reached, or the connection was lost before the answer"
            }
            Exit::Internal => "a failure of mcpd itself or of the system it runs on",
            Exit::Transient => "not executed, for a passing reason; may be sent again",
            Exit::Protocol => "the peer broke the protocol, or does not speak it",
            Exit::Permanent => "not executed, refused for good; the same again is refused again",
            Exit::Unknown => "unknown outcome: no answer in time, or it may have run",
            Exit::Interrupted => "interrupted by Ctrl-C; a request under way was cancelled",
        }
    }

    /// The paragraph of `mcpd --help`.
    pub(super) fn table() -> String {
        let mut text = String::from("Exit codes:");
        for exit in Exit::ALL {
            text.push_str(&format!("\n  {:>3}  {}", exit.code(), exit.meaning()));
        }
        text
    }

    pub(super) fn of(error: &mcpd_client::Error) -> Exit {
        match error.kind() {
            ErrorKind::Invalid => Exit::Usage,
            ErrorKind::Connect => Exit::of_connect(error.code()),
            ErrorKind::Protocol => Exit::Protocol,
            ErrorKind::Executed => Exit::Executed,
            ErrorKind::Closed if error.class() == ErrorClass::Unknown => Exit::Unreachable,
            // What the server says of a request, and what is certain although it says nothing.
            _ => match (error.class(), error.is_permanent()) {
                (ErrorClass::NotExecuted, false) => Exit::Transient,
                (ErrorClass::NotExecuted, true) => Exit::Permanent,
                _ => Exit::Unknown,
            },
        }
    }

    fn of_connect(code: Option<ErrorCode>) -> Exit {
        match code {
            Some(ErrorCode::UNAUTHENTICATED) => Exit::Permanent,
            Some(code) if code.is_permanent() => Exit::Protocol,
            _ => Exit::Unreachable,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_table_is_the_one_in_the_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli.md");
        let text = std::fs::read_to_string(path).unwrap();
        let (_, section) = text.split_once("\n## Exit codes\n").unwrap();
        let section = section.split("\n## ").next().unwrap();
        let documented: Vec<(String, String)> = section
            .lines()
            .filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"))
            .filter_map(|line| line.split_once("` | "))
            .map(|(code, meaning)| (code.to_owned(), meaning.to_owned()))
            .collect();
        let known: Vec<(String, String)> = Exit::ALL
            .iter()
            .map(|exit| (exit.code().to_string(), exit.meaning().to_owned()))
            .collect();
        assert_eq!(documented, known);
    }

    #[test]
    fn a_connection_that_came_to_nothing_says_whose_fault_it_is() {
        assert_eq!(Exit::of_connect(None), Exit::Unreachable);
        for (code, exit) in [
            (ErrorCode::TOO_MANY_CONNECTIONS, Exit::Unreachable),
            (ErrorCode::CLOSING, Exit::Unreachable),
            (ErrorCode::UNAUTHENTICATED, Exit::Permanent),
            (ErrorCode::UNSUPPORTED_VERSION, Exit::Protocol),
            (ErrorCode::PROTOCOL_ERROR, Exit::Protocol),
        ] {
            assert_eq!(Exit::of_connect(Some(code)), exit, "{code}");
        }
    }
}
