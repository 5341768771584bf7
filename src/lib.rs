//! `mcpd`, a server for MCP (the *Message Communication Protocol*), as a library.
//!
//! A server with functions of your own as handlers is put together by [`Server::builder`]; the module
//! [`function`] says what they may ask for and give. `docs/functions.md` is the guide.
//!
//! The program is [`cli::main`] and no more. Below it, [`app::serve`] runs a whole server, with both
//! ports, signals and drain, from a [`config::Config`].
//!
//! Whoever wants nothing but the data port inside a process of their own puts its parts together: a [`router::document`] names the routes, [`handler::Handlers`] what they lead to, a
//! [`scheduler::Scheduler`] bounds what runs, [`dispatch::bind`] makes one table of all, and a [`conn::Listener`] serves it. Signals, the
//! sidecar port and the drain are the caller's then; orders of a drain go through the
//! [`conn::Registry`].
//!
//! ```
//! use mcpd::conn::{ListenSettings, Listener, Registry, Settings};
//! use mcpd::dispatch::{BindOptions, Dispatcher, bind};
//! use mcpd::handler::{Echo, Handlers};
//! use mcpd::router::document::{Document, ParseOptions};
//! use mcpd::router::{handle::Handle, table::Table};
//! use mcpd::scheduler::Scheduler;
//! use mcpd::telemetry::{ConnMetrics, RouteCatalog};
//! use mcpd_client::{ConnectOptions, Connection};
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let text = b"{apiVersion: mcpd/v1, kind: RouteTable, routes: [{topic: shop/+, handler: echo}]}";
//! let document = Document::parse(text, &ParseOptions::default())?.document;
//! let mut handlers = Handlers::new();
//! handlers.insert("echo", Arc::new(Echo));
//! let catalog = Arc::new(RouteCatalog::default());
//! let scheduler = Scheduler::default();
//! let before = Table::default();
//! let runtime = tokio::runtime::Runtime::new()?;
//! let options = BindOptions::new(runtime.handle().clone());
//! let table = Handle::new(bind(&document, &handlers, &scheduler, &catalog, &before, &options)?);
//!
//! let listen = ListenSettings { addr: "127.0.0.1:0".parse()?, ..ListenSettings::default() };
//! let settings = Settings { listen: Arc::new(listen), ..Settings::default() };
//!
//! runtime.block_on(async {
//!     let listener = Listener::bind(
//!         tokio::sync::watch::channel(settings).1,
//!         Dispatcher::new(table), // keep a clone of the handle to swap tables while it runs
//!         Arc::new(ConnMetrics::new(catalog)),
//!         Arc::new(Registry::default()),
//!         Vec::new(), // connections run on this runtime
//!     )?;
//!     let addr = listener.local_addr();
//!     tokio::spawn(listener.run());
//!
//!     let client = Connection::connect(addr.to_string(), ConnectOptions::new()).await?;
//!     let answer = client.request("shop/7").body("hello").send().await?;
//!     assert_eq!(&answer.body()[..], b"hello");
//!     Ok(())
//! })
//! # }
//! ```
//!
//! What is public is what the program is made of, and will move with it while the version is 0.x.
//! The wire protocol is in the crate `mcpd-proto`, the client in `mcpd-client`; both stand alone.

pub mod admin;
pub mod app;
pub mod auth;
mod background;
pub mod cli;
mod clock;
pub mod config;
pub mod conn;
pub mod dispatch;
mod files;
pub mod function;
#[cfg(test)]
mod generated;
pub mod handler;
mod home;
#[cfg(feature = "kubernetes")]
mod kube;
pub mod lifecycle;
pub mod message;
mod peers;
pub mod router;
pub mod scheduler;
mod server;
pub mod telemetry;
pub mod tls;
pub mod upstream;

pub use server::{Builder, Route, Server, StartError};
