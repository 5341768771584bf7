//! The `mcpd` program.
fn main() {}
