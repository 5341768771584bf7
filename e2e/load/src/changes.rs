//! Changes a route again and again by the admin API of one pod, and looks after each change how every pod answers.

use crate::raw::{Event, RawConnection};
use crate::tally::percentile;
use anyhow::{Context, Result, ensure};
use clap::Args;
use reqwest::StatusCode;
use serde::Serialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const ANSWER: Duration = Duration::from_secs(5);

#[derive(Args)]
pub(crate) struct Changes {
    /// Base URL of the admin API of one pod
    #[arg(long)]
    admin: String,
    /// `host:port` of every pod's data port
    #[arg(long, required = true, num_args = 1..)]
    pods: Vec<String>,
    #[arg(long, default_value_t = 1000)]
    changes: u32,
    /// Two handlers that answer with their own names, between which the route goes back and forth
    #[arg(long, default_values_t = ["a".to_owned(), "b".to_owned()], num_args = 2)]
    handlers: Vec<String>,
}

/// How the changes went.
#[derive(Serialize)]
pub(crate) struct Changed {
    changes: u32,
    /// Answered 200: every pod had it in time.
    converged: u32,
    /// Answers by an older table after the change was said to be everywhere.
    stale_answers: u32,
    /// From the first byte of the change to the answer that all pods have it.
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    max_ms: Option<f64>,
    examples: Vec<String>,
}

impl Changes {
    pub(crate) async fn run(self) -> Result<Changed> {
        let client = reqwest::Client::new();
        let mut pods = Vec::new();
        for pod in &self.pods {
            pods.push(RawConnection::open(pod).await?);
        }
        let (mut times, mut converged, mut stale) = (Vec::new(), 0, 0);
        let mut examples = Vec::new();
        for n in 0..self.changes {
            let handler = &self.handlers[n as usize % 2];
            let began = Instant::now();
            let (status, text) = self.put(&client, handler).await?;
            times.push(began.elapsed());
            if status == StatusCode::OK {
                converged += 1;
            } else {
                examples.push(format!("change {n}: {status}: {text}"));
            }
            for pod in &mut pods {
                let told = ask(pod).await.with_context(|| format!("change {n}"))?;
                if told != *handler {
                    stale += 1;
                    examples.push(format!(
                        "change {n}: {} says {told} for {handler}",
                        pod.server
                    ));
                }
            }
        }
        times.sort_unstable();
        examples.truncate(10);
        Ok(Changed {
            changes: self.changes,
            converged,
            stale_answers: stale,
            p50_ms: percentile(&times, 50.0),
            p99_ms: percentile(&times, 99.0),
            max_ms: percentile(&times, 100.0),
            examples,
        })
    }

    async fn put(&self, client: &reqwest::Client, handler: &str) -> Result<(StatusCode, String)> {
        let url = format!("{}/admin/v1/routes/flip?wait=all", self.admin);
        let route: Value = json!({"topic": "flip", "handler": handler});
        let answer = client
            .put(url)
            .bearer_auth(crate::token().unwrap_or_default())
            .json(&route)
            .send()
            .await?;
        let status = answer.status();
        let text = answer.text().await?;
        ensure!(status.is_success(), "{status}: {text}");
        Ok((status, text))
    }
}

/// Which handler a pod asks now.
async fn ask(pod: &mut RawConnection) -> Result<String> {
    pod.send("flip", b"").await?;
    let until = Instant::now() + ANSWER;
    loop {
        match pod.event(until).await {
            Event::Answered(body) => return Ok(String::from_utf8(body)?),
            Event::Move(_) => {}
            other => anyhow::bail!("{}: {other:?}", pod.server),
        }
    }
}
