//! Two writers that read the same version of the routes and write at once, each through another pod.

use anyhow::{Context, Result, bail};
use clap::Args;
use reqwest::header::{ETAG, IF_MATCH};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

#[derive(Args)]
pub(crate) struct Writers {
    /// Base URLs of the admin APIs of two pods
    #[arg(long, required = true, num_args = 2)]
    admin: Vec<String>,
    #[arg(long, default_value_t = 20)]
    rounds: u32,
}

/// How the rounds went.
#[derive(Serialize)]
pub(crate) struct Written {
    rounds: u32,
    /// Pairs of statuses, and how often.
    outcomes: BTreeMap<String, u32>,
    /// Routes that were written and are not there.
    lost: Vec<String>,
}

impl Writers {
    pub(crate) async fn run(self) -> Result<Written> {
        let client = reqwest::Client::new();
        let (mut outcomes, mut names) = (BTreeMap::new(), Vec::new());
        for round in 0..self.rounds {
            let (etag, document) = self.read(&client, 0).await?;
            let mine: Vec<String> = (0..2).map(|n| format!("writer-{n}-{round}")).collect();
            let (first, second) = tokio::join!(
                self.write(&client, 0, &etag, with_route(&document, &mine[0])),
                self.write(&client, 1, &etag, with_route(&document, &mine[1])),
            );
            let mut statuses = [first?, second?];
            for (n, status) in statuses.iter().enumerate() {
                if *status == 412 {
                    self.again(&client, n, &mine[n]).await?;
                }
            }
            statuses.sort_unstable();
            *outcomes.entry(format!("{statuses:?}")).or_default() += 1;
            names.extend(mine);
        }
        let (_, document) = self.read(&client, 1).await?;
        let there = document["routes"].as_array().cloned().unwrap_or_default();
        names.retain(|name| !there.iter().any(|route| route["name"] == **name));
        Ok(Written {
            rounds: self.rounds,
            outcomes,
            lost: names,
        })
    }

    /// What the one who came second does: reads, and writes again.
    async fn again(&self, client: &reqwest::Client, n: usize, name: &str) -> Result<()> {
        for _ in 0..5 {
            let (etag, document) = self.read(client, n).await?;
            match self
                .write(client, n, &etag, with_route(&document, name))
                .await?
            {
                200 => return Ok(()),
                412 => {}
                status => bail!("{name}: {status}"),
            }
        }
        bail!("{name}: 412 although nobody else writes")
    }

    fn url(&self, n: usize) -> String {
        format!("{}/admin/v1/routes", self.admin[n])
    }

    async fn read(&self, client: &reqwest::Client, n: usize) -> Result<(String, Value)> {
        let answer = client
            .get(self.url(n))
            .bearer_auth(crate::token().unwrap_or_default())
            .send()
            .await?
            .error_for_status()?;
        let etag = answer
            .headers()
            .get(ETAG)
            .context("no ETag")?
            .to_str()?
            .to_owned();
        Ok((etag, answer.json().await?))
    }

    async fn write(
        &self,
        client: &reqwest::Client,
        n: usize,
        etag: &str,
        document: Value,
    ) -> Result<u16> {
        let request = client
            .put(self.url(n))
            .bearer_auth(crate::token().unwrap_or_default())
            .header(IF_MATCH, etag);
        Ok(request.json(&document).send().await?.status().as_u16())
    }
}

fn with_route(document: &Value, name: &str) -> Value {
    let mut document = document.clone();
    let route = json!({"name": name, "topic": format!("writers/{name}"), "handler": "echo"});
    if let Some(routes) = document["routes"].as_array_mut() {
        routes.push(route);
    }
    document
}
