//! Key files: an operator's, and yet input.

#![no_main]

use doorward::doors::auth::{keys::Key, static_tokens::StaticTokens};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = Key::jwks(data);
    let _ = Key::public_pem(data);
    let _ = StaticTokens::parse(data);
    if Key::hs256(data).is_ok() {
        assert!(data.len() >= 32);
    }
});
