//! mcpd as a library.

pub mod admin;
pub mod app;
pub mod cli;
pub mod config;
pub mod conn;
pub mod dispatch;
pub mod handler;
pub mod lifecycle;
pub mod message;
pub mod router;
pub mod telemetry;
