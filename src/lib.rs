//! mcpd as a library.
pub mod router;
