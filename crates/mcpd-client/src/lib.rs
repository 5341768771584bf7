//! The client of MCP.
