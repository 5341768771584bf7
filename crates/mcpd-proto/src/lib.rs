//! The wire contract of MCP.
