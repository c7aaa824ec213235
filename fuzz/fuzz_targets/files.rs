//! Files of the container that its commands may have written: users, hosts, secrets.

#![no_main]

use doorward::core::{envfile, hosts, passwd, units};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(variables) = envfile::parse(data) {
        assert!(variables.iter().all(|one| !one.key().is_empty()));
    }
    let (head, rest) = data.split_at(data.len() / 2);
    let name = String::from_utf8_lossy(&head[..head.len().min(16)]).into_owned();
    let _ = passwd::identify(&name, head, rest);
    let _ = passwd::identify("root:wheel", head, rest);
    let _ = hosts::addresses(&name, data);
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = units::size(text);
        let _ = units::duration(text);
    }
});
