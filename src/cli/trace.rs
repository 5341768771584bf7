//! The trace of a request, and where to look for it.

use super::failure::Failure;
use super::output::complain;
use super::peer::env;
use clap::Args;
use mcpd_client::Trace;

/// Why a server may not record what it is asked to.
const NOT_THERE: &str = "hint: that server has no tracing.endpoint, or more traced requests than its \
    tracing.parent_per_second or parent_per_principal";
/// Why a server does not record what nobody asked it to.
const NOT_ASKED: &str =
    "hint: its traceparent says so, it ends with 00; --trace beside it asks for it";

/// Flags of a trace whose sender wants it recorded.
const SAMPLED: u8 = 1;

/// Whether the request belongs to a trace.
#[derive(Debug, Args)]
pub(super) struct Tracing {
    /// Have the request traced; its trace id and how to find it are on standard error (default: the
    /// request carries no trace)
    ///
    /// With the environment variable MCPD_JAEGER_URL, such as http://127.0.0.1:16686, there is a
    /// link to the trace.
    #[arg(long)]
    trace: bool,
    /// Let the request join this trace, a traceparent of W3C Trace Context (default: a new trace
    /// with --trace, else none)
    #[arg(long, value_name = "TRACEPARENT", value_parser = traceparent)]
    traceparent: Option<Trace>,
}

fn traceparent(text: &str) -> Result<Trace, String> {
    text.parse()
        .map_err(|error: mcpd_client::TraceParentError| error.to_string())
}

impl Tracing {
    /// What the request carries.
    pub(super) fn context(&self) -> Result<Option<Trace>, Failure> {
        match (self.traceparent, self.trace) {
            (Some(mut trace), asked) => {
                // Who asks for a trace wants it recorded, whatever was decided before.
                trace.flags |= if asked { SAMPLED } else { 0 };
                Ok(Some(trace))
            }
            (None, true) => fresh().map(Some),
            (None, false) => Ok(None),
        }
    }
}

fn fresh() -> Result<Trace, Failure> {
    let mut trace = Trace {
        trace_id: [0; 16],
        span_id: [0; 8],
        flags: SAMPLED,
    };
    // All zero is reserved; it does not happen.
    getrandom::fill(&mut trace.trace_id)
        .and_then(|()| getrandom::fill(&mut trace.span_id))
        .map_err(|error| Failure::internal(format!("no random numbers for a trace: {error}")))?;
    Ok(trace)
}

/// Says what trace it was and where it may be found; `answered` is what the server tells of its span.
pub(super) fn tell(sent: Trace, answered: Option<Trace>) {
    let id = trace_id(sent);
    match answered {
        None => complain(&format!("trace {id}; the server has told of no span")),
        Some(span) => {
            let recorded = span.is_sampled();
            let word = if recorded {
                "sampled"
            } else {
                "not sampled there"
            };
            complain(&format!(
                "trace {id}, server span {}, {word}",
                span_id(span)
            ));
            if !recorded {
                return complain(if sent.is_sampled() {
                    NOT_THERE
                } else {
                    NOT_ASKED
                });
            }
        }
    }
    let look = match env("MCPD_JAEGER_URL") {
        Some(base) => format!("{}/trace/{id}", base.trim_end_matches('/')),
        None => format!(
            "search for {id} where the server's spans go (tracing.endpoint there); \
             with MCPD_JAEGER_URL there is a link here"
        ),
    };
    complain(&format!("find it: {look}"));
}

/// The trace id in hex.
pub(super) fn trace_id(trace: Trace) -> String {
    hex(&trace.trace_id)
}

/// The span id in hex.
pub(super) fn span_id(trace: Trace) -> String {
    hex(&trace.span_id)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
