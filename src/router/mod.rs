//! Routes: from a document in a store to the table that every request is looked up in.
//!
//! [`store`] holds the document, [`document`] reads and writes it, [`table`] is what it becomes,
//! and [`handle`] is where the table in use is swapped.

pub mod document;
pub mod handle;
pub mod store;
pub mod table;
