//! Who may call and over what: the flags that only make sense together.

use std::{collections::BTreeSet, sync::Arc};

use tokio_rustls::rustls::ServerConfig;

use super::{
    args::ServeArgs,
    check::{Check, given_path},
};
use crate::doors::{
    address::Address,
    auth::{Certificates, Policy, keys::Key, static_tokens::StaticTokens, token::Tokens},
    listen::Reach,
    tls,
};

/// What the flags about access come to.
pub(super) struct Access {
    pub(super) reach: Reach,
    pub(super) policy: Arc<Policy>,
    pub(super) tls: Option<Arc<ServerConfig>>,
}

const SWITCH: [(&str, Switch); 4] =
    [("true", Switch::On), ("1", Switch::On), ("false", Switch::Off), ("0", Switch::Off)];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Switch {
    On,
    Off,
}

/// Reads key, token and certificate files and holds the listeners against them.
pub(super) fn check(check: &mut Check, args: &ServeArgs, listen: &[Address]) -> Access {
    let anonymous = check.choice("--allow-anonymous", &args.allow_anonymous, &SWITCH);
    let plaintext = check.choice("--allow-plaintext", &args.allow_plaintext, &SWITCH);
    let keys = keys(check, args);
    let fixed = check.parsed("--token-file", &args.token_file, StaticTokens::parse);
    let tls = tls_config(check, args);
    let certificates = match given_path(&args.client_ca) {
        Some(_) => Certificates::Required,
        None => Certificates::NotAsked,
    };
    let rule = task_rule(check, args, &keys);
    let tokens = Tokens::new(keys, fixed.unwrap_or_default(), rule);
    let authenticated = tokens.configured() || certificates == Certificates::Required;
    if anonymous == Switch::On && authenticated {
        check.notice(
            "--allow-anonymous has no effect: callers on TCP must authenticate as configured"
                .into(),
        );
    }
    for address in listen {
        let Address::Tcp(socket) = address else { continue };
        // Mistakes in the files themselves are on the list already.
        if !authenticated && anonymous == Switch::Off && !names_credentials(args) {
            check.mistake(format!(
                "--listen {address} has no authentication: commands share the network with the \
                 agent, so give --token-file, a --jwt-… key, --client-ca, or --allow-anonymous"
            ));
        }
        if !socket.ip().to_canonical().is_loopback()
            && given_path(&args.tls_cert).is_none()
            && plaintext == Switch::Off
        {
            check.mistake(format!(
                "--listen {address} is not loopback and has no TLS: give --tls-cert and \
                 --tls-key, or --allow-plaintext if something in front ends TLS"
            ));
        }
    }
    let (uids, reach) = uids(check, args);
    Access { reach, policy: Arc::new(Policy::new(tokens, certificates, uids)), tls }
}

fn names_credentials(args: &ServeArgs) -> bool {
    !args.jwt_public_key_file.is_empty()
        || [&args.jwt_hs256_secret_file, &args.jwks_file, &args.token_file, &args.client_ca]
            .into_iter()
            .any(|path| given_path(path).is_some())
}

fn keys(check: &mut Check, args: &ServeArgs) -> Vec<Key> {
    let mut keys = Vec::new();
    keys.extend(check.parsed("--jwt-hs256-secret-file", &args.jwt_hs256_secret_file, Key::hs256));
    for path in &args.jwt_public_key_file {
        let path = Some(path.clone());
        keys.extend(check.parsed("--jwt-public-key-file", &path, Key::public_pem));
    }
    if let Some(set) = check.parsed("--jwks-file", &args.jwks_file, Key::jwks) {
        for why in set.ignored {
            check.notice(format!("--jwks-file: ignoring {why}"));
        }
        keys.extend(set.keys);
    }
    keys
}

/// The claim and the value that it must have; none if no claim is asked for.
fn task_rule(check: &mut Check, args: &ServeArgs, keys: &[Key]) -> Option<(String, String)> {
    let claim = args.jwt_task_claim.clone();
    if claim.is_empty() {
        return None;
    }
    match check.given("--task-id", args.task_id.clone()) {
        Some(task) => Some((claim, task)),
        None => {
            if !keys.is_empty() {
                check.mistake(format!(
                    "tokens must carry the claim {claim:?}, so --task-id is needed (or \
                     --jwt-task-claim '' to do without)"
                ));
            }
            None
        }
    }
}

fn tls_config(check: &mut Check, args: &ServeArgs) -> Option<Arc<ServerConfig>> {
    let certificate = given_path(&args.tls_cert);
    let key = given_path(&args.tls_key);
    let authority = given_path(&args.client_ca);
    let (certificate, key) = match (certificate, key) {
        (Some(certificate), Some(key)) => (certificate, key),
        (None, None) => {
            if authority.is_some() {
                check.mistake("--client-ca needs --tls-cert and --tls-key".into());
            }
            return None;
        }
        (Some(_), None) => {
            check.mistake("--tls-cert needs --tls-key".into());
            return None;
        }
        (None, Some(_)) => {
            check.mistake("--tls-key needs --tls-cert".into());
            return None;
        }
    };
    let chain = check.file("--tls-cert", &certificate);
    let secret = check.file("--tls-key", &key);
    let roots = match &authority {
        Some(path) => Some(check.file("--client-ca", path)?),
        None => None,
    };
    match tls::server_config(&chain?, &secret?, roots.as_deref()) {
        Ok(config) => Some(Arc::new(config)),
        Err(error) => {
            check.mistake(error.to_string());
            None
        }
    }
}

/// The user ids that may call through a Unix socket.
fn uids(check: &mut Check, args: &ServeArgs) -> (BTreeSet<u32>, Reach) {
    let own = rustix::process::geteuid().as_raw();
    let mut uids = BTreeSet::from([own, 0]);
    let mut reach = Reach::Own;
    for text in args.allow_uid.iter().filter(|text| !text.is_empty()) {
        match text.trim().parse() {
            Ok(uid) => {
                if uids.insert(uid) {
                    reach = Reach::Others;
                }
            }
            Err(_) => check.mistake(format!("--allow-uid {text:?} is not a user id")),
        }
    }
    (uids, reach)
}
