//! Asks URLs again and again, without anything between it and them: what `e2e/run` knows of pods while there is no
//! API server.

use crate::stop::Stop;
use crate::{epoch_ms, millis, print};
use anyhow::{Context, Result};
use clap::Args;
use reqwest::header::{CONTENT_TYPE, ETAG, IF_MATCH};
use serde::Serialize;
use std::time::{Duration, Instant};
use tokio::time::MissedTickBehavior;

#[derive(Args)]
pub(crate) struct Poll {
    /// `name=METHOD url`, or `name=METHOD url body`; a body is sent as JSON
    #[arg(required = true)]
    targets: Vec<String>,
    #[arg(long, default_value_t = 500)]
    every_ms: u64,
    /// Ends after this time
    #[arg(long)]
    seconds: Option<u64>,
    /// Ends after so many rounds
    #[arg(long)]
    times: Option<u64>,
    /// `If-Match` of every request
    #[arg(long)]
    if_match: Option<String>,
    /// Characters of a body that are told
    #[arg(long, default_value_t = 4000)]
    characters: usize,
    /// Only lines that begin like this are told
    #[arg(long)]
    only: Option<String>,
}

#[derive(Clone)]
struct Target {
    name: String,
    method: reqwest::Method,
    url: String,
    body: Option<String>,
}

/// One answer.
#[derive(Serialize)]
struct Seen {
    at: u64,
    name: String,
    /// 0 where there was none.
    status: u16,
    etag: String,
    ms: f64,
    body: String,
}

impl Poll {
    pub(crate) async fn run(self) -> Result<()> {
        let mut stop = Stop::on_signal()?;
        let targets: Vec<Target> = self
            .targets
            .iter()
            .map(|text| Target::parse(text))
            .collect::<Result<_>>()?;
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .build()?;
        let mut tick = tokio::time::interval(Duration::from_millis(self.every_ms));
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let began = Instant::now();
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = stop.stopped() => return Ok(()),
            }
            if self
                .seconds
                .is_some_and(|seconds| began.elapsed() >= Duration::from_secs(seconds))
            {
                return Ok(());
            }
            for target in &targets {
                print(&self.ask(&client, target).await)?;
            }
        }
    }

    async fn ask(&self, client: &reqwest::Client, target: &Target) -> Seen {
        let (at, began) = (epoch_ms(), Instant::now());
        let mut seen = Seen {
            at,
            name: target.name.clone(),
            status: 0,
            etag: String::new(),
            ms: 0.0,
            body: String::new(),
        };
        if let Err(error) = self.answer(client, target, &mut seen).await {
            seen.body = error.to_string();
        }
        seen.ms = millis(began.elapsed());
        seen
    }

    async fn answer(
        &self,
        client: &reqwest::Client,
        target: &Target,
        seen: &mut Seen,
    ) -> Result<(), reqwest::Error> {
        let mut request = client.request(target.method.clone(), &target.url);
        if let Some(token) = crate::token() {
            request = request.bearer_auth(token);
        }
        if let Some(version) = &self.if_match {
            request = request.header(IF_MATCH, version);
        }
        if let Some(body) = &target.body {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(body.clone());
        }
        let answer = request.send().await?;
        seen.status = answer.status().as_u16();
        let etag = answer
            .headers()
            .get(ETAG)
            .and_then(|etag| etag.to_str().ok());
        seen.etag = etag.unwrap_or_default().to_owned();
        let body = answer.text().await?;
        let kept = |line: &&str| {
            self.only
                .as_ref()
                .is_none_or(|only| line.starts_with(only.as_str()))
        };
        let body: String = body.lines().filter(kept).collect::<Vec<_>>().join("\n");
        seen.body = body.chars().take(self.characters).collect();
        Ok(())
    }
}

impl Target {
    fn parse(text: &str) -> Result<Target> {
        let (name, rest) = text
            .split_once('=')
            .with_context(|| format!("{text}: no name"))?;
        let mut words = rest.splitn(3, ' ');
        let method = words.next().unwrap_or_default().parse()?;
        let url = words.next().with_context(|| format!("{text}: no URL"))?;
        Ok(Target {
            name: name.to_owned(),
            method,
            url: url.to_owned(),
            body: words.next().map(str::to_owned),
        })
    }
}
