//! The wire contract of MCP.
pub mod topic;
