//! Randomness. The only file that may ask the system for it.

/// A random number from the system's generator.
pub fn random_u64() -> u64 {
    // Without a system generator there are no ids either; nothing sensible can go on.
    getrandom::u64().unwrap_or_else(|error| panic!("the system has no random numbers: {error}"))
}

/// A random UUID (version 4).
pub fn uuid() -> uuid::Uuid {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&random_u64().to_be_bytes());
    bytes[8..].copy_from_slice(&random_u64().to_be_bytes());
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
