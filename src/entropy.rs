//! Randomness. The only file that may ask the system for it.

use std::cell::RefCell;

/// Fetched at once: every step takes several ids, and a system call each would show in its cost.
const STOCK: usize = 512;

thread_local! {
    static LEFT: RefCell<([u8; STOCK], usize)> = const { RefCell::new(([0; STOCK], 0)) };
}

/// A random number from the system's generator.
pub fn random_u64() -> u64 {
    LEFT.with_borrow_mut(|(stock, left)| {
        if *left < 8 {
            // Without a system generator there are no ids either; nothing sensible can go on.
            getrandom::fill(stock).unwrap_or_else(|error| panic!("the system has no random numbers: {error}"));
            *left = STOCK;
        }
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&stock[*left - 8..*left]);
        // What was given out is not kept.
        stock[*left - 8..*left].fill(0);
        *left -= 8;
        u64::from_be_bytes(bytes)
    })
}

/// A random UUID (version 4).
pub fn uuid() -> uuid::Uuid {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&random_u64().to_be_bytes());
    bytes[8..].copy_from_slice(&random_u64().to_be_bytes());
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
