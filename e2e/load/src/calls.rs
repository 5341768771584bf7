//! Closed-loop callers: each sends its next request when the last one has ended.

use crate::raw::{self, RawCaller};
use crate::stop::Stop;
use crate::tally::{Tally, Verdict};
use anyhow::{Context, Result};
use clap::{Args, ValueEnum};
use mcpd_client::Client;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

#[derive(Args, Clone)]
pub(crate) struct Load {
    /// Servers, as the client crate takes them
    #[arg(long)]
    pub(crate) to: String,
    /// Who speaks: the client crate, or a client that has nothing but the protocol crate
    #[arg(long, default_value = "client")]
    by: By,
    /// Name of this run in the ledger
    #[arg(long)]
    run: String,
    #[arg(long, default_value = "note")]
    pub(crate) topic: String,
    /// Clients of the client crate, each with a pool of its own; `raw` has a connection for each caller
    #[arg(long, default_value_t = 4)]
    clients: usize,
    #[arg(long, default_value_t = 20)]
    callers: usize,
    /// `raw` takes a new connection for each request, and so, behind a Service, every ready pod in turn
    #[arg(long)]
    reconnect: bool,
    /// Ends after so many requests
    #[arg(long)]
    requests: Option<u64>,
    /// Ends after this time
    #[arg(long)]
    seconds: Option<u64>,
    /// How long a caller waits
    #[arg(long, default_value_t = 20)]
    timeout_seconds: u64,
    /// Base URL of the ledger that the requests end at
    #[arg(long)]
    ledger: Option<String>,
}

#[derive(ValueEnum, Clone, Copy, PartialEq)]
enum By {
    Client,
    Raw,
}

impl Load {
    pub(crate) async fn run(self) -> Result<Verdict> {
        let stop = Stop::on_signal()?;
        let tally = Arc::new(Tally::new());
        let mut callers = JoinSet::new();
        let clients: Vec<Client> = match self.by {
            By::Client => (0..self.clients)
                .map(|n| self.client(n))
                .collect::<Result<_>>()?,
            By::Raw => Vec::new(),
        };
        for n in 0..self.callers {
            let (load, tally, stop) = (self.clone(), tally.clone(), stop.clone());
            match self.by {
                By::Client => {
                    let client = clients[n % clients.len()].clone();
                    callers.spawn(async move { load.call_by(&client, &tally, &stop).await });
                }
                By::Raw => {
                    callers.spawn(async move { load.call_raw(&tally, &stop).await });
                }
            }
        }
        while let Some(ended) = callers.join_next().await {
            ended?;
        }
        let ran = self.ran().await?;
        tally.verdict(&self.run, ran.as_deref())
    }

    fn client(&self, n: usize) -> Result<Client> {
        let client = Client::builder(&self.to)
            .client_id(format!("{}-{n}", self.run))
            .timeout(self.timeout());
        Ok(client.build_lazy()?)
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout_seconds)
    }

    /// The next request of a caller, while there is to be one: its number and its body, which the ledger reads.
    fn next(&self, tally: &Tally, stop: &Stop) -> Option<(u64, String)> {
        let late = self
            .seconds
            .is_some_and(|seconds| tally.age() >= Duration::from_secs(seconds));
        if stop.is_over() || late {
            return None;
        }
        let number = tally.number();
        let wanted = self.requests.is_none_or(|requests| number < requests);
        wanted.then(|| (number, format!("{}:{number}", self.run)))
    }

    async fn call_by(&self, client: &Client, tally: &Tally, stop: &Stop) {
        while let Some((number, body)) = self.next(tally, stop) {
            let began = Instant::now();
            match client.request(&self.topic).body(body.clone()).send().await {
                Ok(answer) if answer.body() == body.as_bytes() => {
                    tally.answered(number, began.elapsed(), None)
                }
                Ok(_) => tally.failed(
                    number,
                    "another answer".to_owned(),
                    "the answer to another request",
                ),
                Err(error) => {
                    let code = error
                        .code()
                        .map_or_else(String::new, |code| format!(" {code}"));
                    let kind = format!("{:?}{code} ({:?})", error.kind(), error.class());
                    tally.failed(number, kind, &error.to_string());
                }
            }
        }
    }

    async fn call_raw(&self, tally: &Tally, stop: &Stop) {
        let mut caller = RawCaller::new(&self.to, tally);
        while let Some((number, body)) = self.next(tally, stop) {
            let began = Instant::now();
            match caller
                .call(&self.topic, body.as_bytes(), began + self.timeout())
                .await
            {
                Ok(server) => tally.answered(number, began.elapsed(), Some(&server)),
                Err(raw::Failure { kind, text }) => tally.failed(number, kind, &text),
            }
            if self.reconnect {
                caller.leave().await;
            }
        }
        caller.leave().await;
    }

    /// What the ledger has of this run.
    async fn ran(&self) -> Result<Option<Vec<u32>>> {
        let Some(ledger) = &self.ledger else {
            return Ok(None);
        };
        let url = format!("{ledger}/runs/{}", self.run);
        let answer = reqwest::get(&url).await.with_context(|| url.clone())?;
        Ok(Some(answer.error_for_status()?.json().await.context(url)?))
    }
}
