//! The table in use, swapped whole while requests run.

use super::table::Table;
use arc_swap::{ArcSwap, Guard};
use std::sync::Arc;

/// The current table, shared: clones show the same one.
///
/// A request takes the table once and keeps it, so that a swap in between changes nothing for it.
///
/// ```
/// use mcpd::router::{handle::Handle, table::Table};
/// use mcpd_proto::topic::Pattern;
///
/// let handle = Handle::default();
/// assert_eq!(handle.load().lookup("echo"), None);
/// handle.store(Table::build([(Pattern::parse("echo").unwrap(), 7)])?);
/// assert_eq!(handle.load().lookup("echo"), Some(&7));
/// # Ok::<(), mcpd::router::table::TableError>(())
/// ```
#[derive(Debug)]
pub struct Handle<R> {
    current: Arc<ArcSwap<Table<R>>>,
}

impl<R> Handle<R> {
    /// Starts with `table`.
    pub fn new(table: Table<R>) -> Handle<R> {
        Handle {
            current: Arc::new(ArcSwap::from_pointee(table)),
        }
    }

    /// The current table, borrowed without touching a counter that other threads touch. Meant for
    /// short use; keep a table longer with [`Handle::table`].
    pub fn load(&self) -> Guard<Arc<Table<R>>> {
        self.current.load()
    }

    /// The current table, to keep.
    pub fn table(&self) -> Arc<Table<R>> {
        self.current.load_full()
    }

    /// Puts `table` in place of the current one. Who took the old one before keeps it.
    pub fn store(&self, table: Table<R>) {
        self.current.store(Arc::new(table));
    }
}

impl<R> Clone for Handle<R> {
    fn clone(&self) -> Self {
        Handle {
            current: Arc::clone(&self.current),
        }
    }
}

impl<R> Default for Handle<R> {
    fn default() -> Self {
        Handle::new(Table::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use mcpd_proto::topic::Pattern;

    fn one(value: u64) -> Table<u64> {
        let patterns = ["a", "b/+"].map(|p| (Pattern::parse(p).unwrap(), value));
        Table::build(patterns).unwrap()
    }

    #[test]
    fn who_holds_a_table_keeps_it() {
        let handle = Handle::new(one(1));
        let held = handle.table();
        let elsewhere = handle.clone();
        handle.store(one(2));
        assert_eq!(held.lookup("a"), Some(&1));
        assert_eq!(elsewhere.load().lookup("a"), Some(&2));
    }

    #[test]
    fn readers_see_the_old_or_the_new_table_never_a_mixture() {
        const SWAPS: u64 = 10_000;
        let handle = Handle::new(one(0));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let handle = handle.clone();
                std::thread::spawn(move || {
                    let mut last = 0;
                    while last < SWAPS {
                        let table = handle.load();
                        let seen = *table.lookup("a").unwrap();
                        assert_eq!(table.lookup("b/x"), Some(&seen));
                        assert!(seen >= last);
                        last = seen;
                    }
                })
            })
            .collect();
        for value in 1..=SWAPS {
            handle.store(one(value));
        }
        for reader in readers {
            reader.join().unwrap();
        }
    }
}
