//! mcpd as a library.

pub mod lifecycle;
