//! Connections that send nothing: where they are, and where they go when they are asked to.

use crate::raw::{Event, RawConnection};
use crate::stop::Stop;
use crate::{epoch_ms, random_below};
use anyhow::Result;
use clap::Args;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Long enough that nobody looks for nothing.
const A_WHILE: Duration = Duration::from_secs(600);

#[derive(Args, Clone)]
pub(crate) struct Hold {
    /// The servers' `host:port`
    #[arg(long)]
    to: String,
    #[arg(long, default_value_t = 900)]
    connections: usize,
    /// Connections opened in a second
    #[arg(long, default_value_t = 100)]
    rate: u32,
}

/// What the connections went through.
#[derive(Serialize)]
pub(crate) struct Held {
    began_ms: u64,
    connections: usize,
    /// Ended without CLOSING.
    lost: u64,
    moved: u64,
    closed_in_order: u64,
    examples: Vec<String>,
    /// Connections of each server, second by second.
    timeline: Vec<BTreeMap<String, usize>>,
}

#[derive(Default)]
struct Board {
    servers: BTreeMap<String, usize>,
    lost: u64,
    moved: u64,
    closed_in_order: u64,
    examples: Vec<String>,
}

impl Hold {
    pub(crate) async fn run(self) -> Result<Held> {
        let mut stop = Stop::on_signal()?;
        let began_ms = epoch_ms();
        let board = Arc::new(Mutex::new(Board::default()));
        let mut holders = JoinSet::new();
        for n in 0..self.connections {
            let (to, board) = (self.to.clone(), board.clone());
            let begin = Duration::from_secs(1) * n as u32 / self.rate.max(1);
            holders.spawn(async move {
                sleep(begin).await;
                hold(&to, &board).await
            });
        }
        let mut timeline = Vec::new();
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            tokio::select! {
                _ = second.tick() => timeline.push(with(&board, |board| board.servers.clone())),
                () = stop.stopped() => break,
            }
        }
        Ok(with(&board, |board| Held {
            began_ms,
            connections: self.connections,
            lost: board.lost,
            moved: board.moved,
            closed_in_order: board.closed_in_order,
            examples: board.examples.clone(),
            timeline,
        }))
    }
}

fn with<T>(board: &Mutex<Board>, act: impl FnOnce(&mut Board) -> T) -> T {
    act(&mut board
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// Keeps one connection for ever, on one server or another.
async fn hold(to: &str, board: &Mutex<Board>) -> std::convert::Infallible {
    let mut connection = open(to, board).await;
    loop {
        let until = connection
            .move_at
            .unwrap_or_else(|| Instant::now() + A_WHILE);
        let event = connection.event(until).await;
        let due = connection.move_at.is_some_and(|at| Instant::now() >= at);
        match event {
            Event::Lost(text) => with(board, |board| {
                board.lost += 1;
                if board.examples.len() < 10 {
                    board
                        .examples
                        .push(format!("{}: {text}", connection.server));
                }
            }),
            Event::Closing => with(board, |board| board.closed_in_order += 1),
            Event::Quiet if due => with(board, |board| board.moved += 1),
            _ => continue,
        }
        // The new one first, then the old one goes.
        let next = open(to, board).await;
        let left = std::mem::replace(&mut connection, next);
        with(board, |board| board.leave(&left.server));
        tokio::spawn(left.close());
    }
}

impl Board {
    fn leave(&mut self, server: &str) {
        if let Some(count) = self.servers.get_mut(server) {
            *count = count.saturating_sub(1);
        }
    }
}

async fn open(to: &str, board: &Mutex<Board>) -> RawConnection {
    loop {
        if let Ok(connection) = RawConnection::open(to).await {
            let server = connection.server.clone();
            with(board, |board| {
                *board.servers.entry(server).or_default() += 1
            });
            return connection;
        }
        sleep(random_below(Duration::from_secs(1))).await;
    }
}
