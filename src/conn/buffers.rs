//! Memory that connections of one thread share, because only one of them runs at a time.

use super::lanes::Lanes;
use super::pending::{Desk, Table};
use std::cell::RefCell;

/// Bytes read at once. One read of a busy connection brings hundreds of small frames; a larger buffer
/// measured no better and falls out of the cache.
pub(super) const READ_BUFFER: usize = 64 * 1024;

/// Encrypted bytes read at once. With what may be left of a record that began before, they never
/// decrypt to more than a read buffer holds.
const RECORD_BUFFER: usize = READ_BUFFER / 2;

/// Outbound lanes kept for reuse by a thread: those of the connections that are being written to at
/// the same time, which is mostly one.
const MAX_SPARE_LANES: usize = 16;

/// Bytes of a lane's buffer above which it is given back rather than kept.
const MAX_KEPT_LANE: usize = 256 * 1024;

/// Places of a table of unanswered requests above which it is given back rather than kept.
const MAX_KEPT_TABLE: usize = 512;

/// Desks of answered requests that a thread keeps for its next ones.
const MAX_SPARE_DESKS: usize = 256;

type Spares = Vec<Box<Lanes>>;

thread_local! {
    static READ: RefCell<Vec<u8>> = RefCell::new(vec![0; READ_BUFFER]);
    static RECORDS: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    static SPARE: RefCell<Spares> = const { RefCell::new(Vec::new()) };
    static TABLES: RefCell<Vec<Table>> = const { RefCell::new(Vec::new()) };
    static DESKS: RefCell<Vec<Desk>> = const { RefCell::new(Vec::new()) };
}

/// Lends the thread's read buffer.
#[inline]
pub(super) fn with_read_buffer<R>(use_it: impl FnOnce(&mut [u8]) -> R) -> R {
    READ.with(|buffer| match buffer.try_borrow_mut() {
        Ok(mut buffer) => use_it(&mut buffer),
        // Only a connection that is polled from within another one's poll gets here.
        Err(_) => use_it(&mut [0; 4096]),
    })
}

/// Lends the thread's buffer for encrypted bytes, which a thread without TLS does not have.
pub(super) fn with_record_buffer<R>(use_it: impl FnOnce(&mut [u8]) -> R) -> R {
    RECORDS.with(|buffer| match buffer.try_borrow_mut() {
        Ok(mut buffer) => {
            buffer.resize(RECORD_BUFFER, 0);
            use_it(&mut buffer)
        }
        Err(_) => use_it(&mut [0; 4096]),
    })
}

/// Empty lanes, from the thread's spares if there are any.
#[inline]
pub(super) fn take_lanes() -> Box<Lanes> {
    SPARE
        .with(|spare| spare.try_borrow_mut().ok().and_then(|mut s| s.pop()))
        .unwrap_or_default()
}

/// Gives lanes back once everything in them is written.
#[inline]
pub(super) fn give_back(mut lanes: Box<Lanes>) {
    lanes.clear(MAX_KEPT_LANE);
    SPARE.with(|spare| {
        if let Ok(mut spare) = spare.try_borrow_mut()
            && spare.len() < MAX_SPARE_LANES
        {
            spare.push(lanes);
        }
    });
}

/// An empty table of unanswered requests, from the thread's spares if there are any.
pub(super) fn take_table() -> Table {
    TABLES
        .with(|spare| spare.try_borrow_mut().ok().and_then(|mut s| s.pop()))
        .unwrap_or_default()
}

/// Gives a table back in which nothing is left.
pub(super) fn give_table_back(table: Table) {
    TABLES.with(|spare| {
        if let Ok(mut spare) = spare.try_borrow_mut()
            && spare.len() < MAX_SPARE_LANES
            && table.capacity() <= MAX_KEPT_TABLE
        {
            spare.push(table);
        }
    });
}

/// An empty desk, from the thread's spares if there are any.
pub(super) fn take_desk() -> Desk {
    DESKS
        .with(|spare| spare.try_borrow_mut().ok().and_then(|mut s| s.pop()))
        .unwrap_or_default()
}

/// Gives a desk back that is empty.
pub(super) fn give_desk_back(desk: Desk) {
    DESKS.with(|spare| {
        if let Ok(mut spare) = spare.try_borrow_mut()
            && spare.len() < MAX_SPARE_DESKS
        {
            spare.push(desk);
        }
    });
}
