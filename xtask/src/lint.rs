//! (being written)
pub fn run() -> anyhow::Result<u8> {
    Ok(0)
}
