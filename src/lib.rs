//! mcpd as a library.
