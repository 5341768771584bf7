//! `mcpd send`: one request and its answer.

use super::body::Source;
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, settle};
use super::peer::{self, Connected, Peer};
use super::render;
use super::report::Report;
use super::trace::{self, Tracing};
use clap::Args;
use mcpd_client::{Answer, Client, Error, ErrorClass, MetaBuf, Qos, RequestBuilder, Trace};
use mcpd_proto::session::SendError;
use mcpd_proto::topic::Topic;
use std::error::Error as StdError;
use std::time::{Duration, Instant};

/// How long taking leave of the server may take; after Ctrl-C, the CANCEL to be answered.
const PARTING_TIMEOUT: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "Examples:
  mcpd send echo hello
  mcpd send echo -- --a-body-with-a-dash
  mcpd send orders/eu/new @order.json --content-type application/json --timeout 5s
  printf 'a\\0b' | mcpd send echo - --to mcp://10.0.0.7:8080 > answer.bin
  mcpd send echo hello --json | jq .elapsed_ms
  mcpd send echo hello --trace

On a terminal, JSON is indented and control characters and bytes that are not text are escaped;
into a pipe or file the body goes as it is. Errors go to standard error, in two lines: what
happened, and what to do. `mcpd --help` lists the exit codes.";

/// Arguments of `mcpd send`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Send {
    /// The topic: UTF-8, 1 to 255 bytes, levels divided by /
    #[arg(value_parser = topic)]
    topic: String,
    /// What to send: a text, - for standard input, @FILE for a file, @@text for @text
    /// (default: nothing; at most what the server takes, 1MiB unless configured)
    #[arg(value_parser = Source::parse)]
    body: Option<Source>,
    #[command(flatten)]
    peer: Peer,
    /// Urgency, 0 to 7; higher is more urgent
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=7))]
    priority: u8,
    /// The least quality of service that will do: 0 at most once, 1 at least once, 2 effectively once
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
    /// Time for all of it, connecting and retries included, with unit: 250ms, 5s, 1m (default: 5s to
    /// connect, then the route's timeout)
    #[arg(long, value_name = "TIME", value_parser = peer::duration)]
    timeout: Option<Duration>,
    /// How often to send it again when that is safe: the server refused it for now or never had it;
    /// with --qos 1 or 2 also when it may have run
    #[arg(long, value_name = "N", default_value_t = 0)]
    retries: u32,
    /// A header for the handler; may be repeated (key of a-z 0-9 _ . -; default: none)
    #[arg(long = "header", value_name = "KEY=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// Media type of the body, such as application/json (default: not said)
    #[arg(long, value_name = "TYPE", value_parser = content_type)]
    content_type: Option<String>,
    #[command(flatten)]
    tracing: Tracing,
    /// Print one JSON object, answered or not (default: the answer's body alone)
    #[arg(long)]
    json: bool,
}

/// An answer and what else is known of the exchange.
struct Exchange {
    server_id: Option<String>,
    elapsed: Option<Duration>,
    /// The trace that went out with the request.
    traced: Option<Trace>,
    outcome: Result<Answer, Failure>,
}

impl Exchange {
    fn failed(failure: impl Into<Failure>) -> Exchange {
        Exchange {
            server_id: None,
            elapsed: None,
            traced: None,
            outcome: Err(failure.into()),
        }
    }

    /// The server's span.
    fn answered(&self) -> Option<Trace> {
        match &self.outcome {
            Ok(answer) => answer.trace(),
            Err(failure) => failure.error.as_ref().and_then(Error::trace),
        }
    }
}

pub(super) fn run(mut args: Send) -> Exit {
    let body = args.body.take().map_or(Ok(Vec::new()), Source::read);
    let ready = body.and_then(|body| Ok((body, args.tracing.context()?, peer::runtime()?)));
    let exchange = match ready {
        Err(failure) => Exchange::failed(failure),
        Ok((body, trace, runtime)) => {
            let exchange = runtime.block_on(exchange(&args, body, trace));
            // A look-up of a name may still be running; nobody waits for it.
            runtime.shutdown_background();
            exchange
        }
    };
    show(&args, &exchange)
}

async fn exchange(args: &Send, body: Vec<u8>, trace: Option<Trace>) -> Exchange {
    let started = Instant::now();
    let connected = tokio::select! {
        connected = args.connect() => match connected {
            Ok(connected) => connected,
            Err(failure) => return Exchange::failed(failure),
        },
        _ = tokio::signal::ctrl_c() => {
            return Exchange::failed(Failure::interrupted(ErrorClass::NotExecuted));
        }
    };
    let Connected { client, connection } = &connected;
    let began = Instant::now();
    let mut request = args.request(client, body, trace);
    if let Some(timeout) = args.timeout {
        request = request.timeout(timeout.saturating_sub(started.elapsed()));
    }
    let outcome = tokio::select! {
        answer = request.send() => answer.map_err(explain),
        _ = tokio::signal::ctrl_c() => {
            // The request's future is gone, so its CANCEL is on its way.
            Err(Failure::interrupted(ErrorClass::Unknown))
        }
    };
    let elapsed = began.elapsed();
    // What is still to be said, the end of TLS included, is said before the process ends.
    let _ = tokio::time::timeout(PARTING_TIMEOUT, client.close()).await;
    Exchange {
        server_id: connection.server().server_id.clone(),
        elapsed: Some(elapsed),
        traced: trace,
        outcome,
    }
}

/// Adds what a sender of something too large can do about it.
fn explain(error: Error) -> Failure {
    let mut failure = Failure::from(error);
    let source = failure.error.as_ref().and_then(StdError::source);
    let cause = source.and_then(|source| source.downcast_ref());
    if let Some(SendError::TooLarge { .. }) = cause {
        failure.text += "; send less, or raise limits.max_payload there";
    }
    failure
}

impl Send {
    async fn connect(&self) -> Result<Connected, Failure> {
        if self.qos == 2 && self.peer.client_id()?.is_none() {
            let text = "QoS 2 needs a name for this client: --client-id or MCPD_CLIENT_ID";
            return Err(Failure::usage(text.to_owned()));
        }
        self.peer.connect(self.timeout, self.retries).await
    }

    fn request(
        &self,
        client: &Client,
        body: Vec<u8>,
        trace: Option<Trace>,
    ) -> RequestBuilder<Client> {
        let mut request = client
            .request(&self.topic)
            .body(body)
            .priority(self.priority)
            .qos(Qos::from_wire(self.qos).unwrap_or(Qos::AtMostOnce));
        if let Some(trace) = trace {
            request = request.trace(trace);
        }
        if let Some(content_type) = &self.content_type {
            request = request.content_type(content_type);
        }
        for (key, value) in &self.headers {
            request = request.header(key, value);
        }
        request
    }
}

fn show(args: &Send, exchange: &Exchange) -> Exit {
    let exit = match &exchange.outcome {
        Ok(_) => Exit::Ok,
        Err(failure) => failure.exit,
    };
    let output = Output::new();
    let written = match &exchange.outcome {
        _ if args.json => output.json(&report(args, exchange, exit)),
        Ok(answer) if output.terminal => {
            output.bytes(render::for_terminal(answer.body(), answer.content_type()).as_bytes())
        }
        Ok(answer) => output.bytes(answer.body()),
        Err(failure) => {
            failure.show();
            Ok(())
        }
    };
    if let Some(sent) = exchange.traced.filter(|_| !args.json) {
        trace::tell(sent, exchange.answered());
    }
    settle(written, exit)
}

fn report<'a>(args: &'a Send, exchange: &'a Exchange, exit: Exit) -> Report<'a> {
    let mut report = match &exchange.outcome {
        Ok(answer) => Report::answered(answer),
        Err(failure) => Report::failed(failure),
    };
    report.exit_code = exit.code();
    report.topic = &args.topic;
    report.server = args.peer.address();
    report.server_id = exchange.server_id.as_deref();
    let span = exchange.answered();
    report.trace_id = exchange.traced.map(trace::trace_id);
    report.span_id = span.map(trace::span_id);
    report.sampled = span.map(Trace::is_sampled);
    report.elapsed_ms = exchange.elapsed.map(peer::ms);
    report
}

fn topic(text: &str) -> Result<String, String> {
    let topic = Topic::parse(text.as_bytes()).map_err(|error| error.to_string())?;
    Ok(topic.as_str().to_owned())
}

fn header(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write KEY=VALUE")?;
    MetaBuf::new().add_header(key, value.as_bytes()).map_err(
        |_| "the key is 1 to 64 of a-z 0-9 _ . -, the value at most 4096 bytes without line breaks",
    )?;
    Ok((key.to_owned(), value.to_owned()))
}

fn content_type(text: &str) -> Result<String, String> {
    MetaBuf::new()
        .set_content_type(text)
        .map_err(|_| "write at most 255 bytes of ASCII".to_owned())?;
    Ok(text.to_owned())
}
