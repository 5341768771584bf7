//! Numbers that need not be secret: span ids and jitter.

use std::cell::Cell;

thread_local! {
    /// 0 before the first use: a constant costs no look whether it is there.
    static STATE: Cell<u64> = const { Cell::new(0) };
}

#[cold]
fn seed() -> u64 {
    // Without entropy the ids of two threads could collide, which costs a confusing trace at worst.
    getrandom::u64().unwrap_or_else(|_| std::process::id().into())
}

/// SplitMix64: a few operations, and good enough for ids that only have to differ.
#[inline]
pub(super) fn next_u64() -> u64 {
    STATE.with(|state| {
        let mut at = state.get();
        if at == 0 {
            at = seed();
        }
        at = at.wrapping_add(0x9e37_79b9_7f4a_7c15);
        state.set(at);
        let mixed = (at ^ (at >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

/// A span id; never all zero, which W3C Trace Context reserves.
pub(crate) fn next_span_id() -> [u8; 8] {
    next_u64().max(1).to_be_bytes()
}

/// A trace id; never all zero.
pub(super) fn next_trace_id() -> [u8; 16] {
    let (high, low) = (u128::from(next_u64()), u128::from(next_u64().max(1)));
    (high << 64 | low).to_be_bytes()
}

/// A number from 0 up to, but not including, 1.
pub(crate) fn random_unit() -> f64 {
    // 53 bits are what a float can tell apart.
    (next_u64() >> 11) as f64 / (1u64 << 53) as f64
}
