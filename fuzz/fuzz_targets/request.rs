//! A start request as a stranger sends it: the scan for unknown fields, prost, and every type that
//! is valid because it exists.

#![no_main]

use doorward::{
    core::{
        ids::ExecId,
        spec::{Argv, EnvVar, SecretId, WindowSize, Workdir},
    },
    wire::{modal::task_command_router::TaskExecStartRequest, unknown},
};
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|data: &[u8]| {
    let shape = unknown::shape::<TaskExecStartRequest>().expect("the descriptors have it");
    unknown::scan(shape, data);
    let Ok(request) = TaskExecStartRequest::decode(data) else { return };
    if let Ok(id) = ExecId::parse(&request.exec_id) {
        assert!(!id.as_str().contains('/') && id.as_str().len() <= 128);
    }
    if let Ok(argv) = Argv::parse(request.command_args) {
        assert!(!argv.program().is_empty());
    }
    if let Ok(workdir) = Workdir::parse(request.workdir.as_deref().unwrap_or_default()) {
        assert!(workdir.as_c_str().to_bytes().starts_with(b"/"));
    }
    for (key, value) in &request.env {
        if let Ok(variable) = EnvVar::parse(key, value) {
            assert!(!variable.key().contains('=') && !variable.value().contains('\0'));
        }
    }
    for id in &request.secret_ids {
        if let Ok(id) = SecretId::parse(id) {
            assert!(!id.as_str().contains(['/', '.']));
        }
    }
    if let Some(info) = request.pty_info {
        let size = WindowSize::new(info.winsz_rows, info.winsz_cols);
        assert!(size.rows() > 0 && size.columns() > 0);
    }
});
