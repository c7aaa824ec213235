//! The header of an unauthenticated caller: nothing made up gets in.

#![no_main]

use std::{
    net::SocketAddr,
    sync::{Arc, LazyLock},
    time::SystemTime,
};

use doorward::doors::auth::{
    Certificates, Peer, Policy, Session, keys::Key, static_tokens::StaticTokens, token::Tokens,
};
use http::{HeaderMap, HeaderValue, header::AUTHORIZATION};
use libfuzzer_sys::fuzz_target;

static POLICY: LazyLock<Arc<Policy>> = LazyLock::new(|| {
    let key = Key::hs256(b"a secret that no fuzzer comes upon by chance").expect("long enough");
    let fixed = StaticTokens::parse(b"a-static-token-that-none-does-either\n").expect("a token");
    let task = Some(("task_id".to_string(), "ta-1".to_string()));
    let tokens = Tokens::new(vec![key], fixed, task);
    Arc::new(Policy::new(tokens, Certificates::NotAsked, Default::default()))
});

fuzz_target!(|data: &[u8]| {
    let Ok(value) = HeaderValue::from_bytes(&[b"Bearer ", data].concat()) else { return };
    let mut headers = HeaderMap::new();
    headers.insert(AUTHORIZATION, value);
    let address = SocketAddr::from(([127, 0, 0, 1], 1));
    let peer = Peer::Tcp { address, certificate: None };
    let path = "/modal.task_command_router.TaskCommandRouter/TaskExecStart";
    let session = Session::new(POLICY.clone(), peer);
    assert!(session.admit(path, &headers, SystemTime::UNIX_EPOCH).is_err());
});
