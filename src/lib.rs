//! mcpd as a library.

pub mod config;
pub mod lifecycle;
