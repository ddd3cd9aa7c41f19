#![cfg(feature = "planted")]
