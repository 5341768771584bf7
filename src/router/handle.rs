//! The table in use, swapped whole while requests run.

use super::table::Table;
use arc_swap::{ArcSwap, Cache, Guard};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The current table, shared: clones show the same one.
///
/// A request takes the table once and keeps it, so that a swap in between changes nothing for it.
///
/// ```
/// use mcpd::router::{handle::Handle, table::Table};
/// use mcpd_proto::topic::Pattern;
///
/// let handle = Handle::default();
/// let mut reader = handle.reader();
/// assert_eq!(reader.table().lookup("echo"), None);
/// handle.store(Table::build([(Pattern::parse("echo").unwrap(), 7)])?);
/// assert_eq!(reader.table().lookup("echo"), Some(&7));
/// # Ok::<(), mcpd::router::table::TableError>(())
/// ```
#[derive(Debug)]
pub struct Handle<R> {
    shared: Arc<Shared<R>>,
}

#[derive(Debug)]
struct Shared<R> {
    current: Arc<ArcSwap<Table<R>>>,
    generation: AtomicU64,
}

impl<R> Handle<R> {
    /// Starts with `table`, as generation 0.
    pub fn new(table: Table<R>) -> Handle<R> {
        Handle {
            shared: Arc::new(Shared {
                current: Arc::new(ArcSwap::from_pointee(table)),
                generation: AtomicU64::new(0),
            }),
        }
    }

    /// The current table, borrowed without touching a counter that other threads touch. Meant for
    /// short use; keep a table longer with [`Handle::table`], or look many up with a [`Reader`].
    pub fn load(&self) -> Guard<Arc<Table<R>>> {
        self.shared.current.load()
    }

    /// The current table, to keep.
    pub fn table(&self) -> Arc<Table<R>> {
        self.shared.current.load_full()
    }

    /// Puts `table` in place of the current one; returns its generation. Who took the old one
    /// before keeps it.
    pub fn store(&self, table: Table<R>) -> u64 {
        self.shared.current.store(Arc::new(table));
        // After the swap: who sees the new generation finds the new table, or a later one.
        self.shared.generation.fetch_add(1, Ordering::Release) + 1
    }

    /// How many swaps there were.
    pub fn generation(&self) -> u64 {
        self.shared.generation.load(Ordering::Acquire)
    }

    /// A view for one thread or connection that makes looking at the current table as cheap as
    /// one atomic load. It keeps the last table it saw alive until it is used again.
    pub fn reader(&self) -> Reader<R> {
        Reader {
            cache: Cache::new(Arc::clone(&self.shared.current)),
        }
    }
}

impl<R> Clone for Handle<R> {
    fn clone(&self) -> Self {
        Handle {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<R> Default for Handle<R> {
    fn default() -> Self {
        Handle::new(Table::default())
    }
}

/// A cached view of a [`Handle`]'s current table.
#[derive(Debug)]
pub struct Reader<R> {
    cache: Cache<Arc<ArcSwap<Table<R>>>, Arc<Table<R>>>,
}

impl<R> Reader<R> {
    /// The current table; clone the `Arc` to keep it for a request that outlives the call.
    #[inline]
    pub fn table(&mut self) -> &Arc<Table<R>> {
        self.cache.load()
    }
}

impl<R> Clone for Reader<R> {
    fn clone(&self) -> Self {
        Reader {
            cache: self.cache.clone(),
        }
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
        assert_eq!(handle.store(one(2)), 1);
        assert_eq!(held.lookup("a"), Some(&1));
        assert_eq!(handle.load().lookup("a"), Some(&2));
        assert_eq!(handle.clone().generation(), 1);
    }

    #[test]
    fn readers_see_the_old_or_the_new_table_never_a_mixture() {
        const SWAPS: u64 = 10_000;
        let handle = Handle::new(one(0));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let handle = handle.clone();
                std::thread::spawn(move || {
                    let mut reader = handle.reader();
                    let mut last = 0;
                    while last < SWAPS {
                        let generation = handle.generation();
                        let table = reader.table();
                        let seen = *table.lookup("a").unwrap();
                        assert_eq!(table.lookup("b/x"), Some(&seen));
                        assert!(seen >= last && seen >= generation);
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
