//! Every way in and every refusal, with real signatures and a clock that is an argument.

use std::time::{Duration, UNIX_EPOCH};

use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use proptest::prelude::*;
use ring::{hmac, signature::Ed25519KeyPair, signature::KeyPair};
use serde_json::{Value, json};
use tonic::Code;

use super::{
    keys::{Key, KeyError},
    static_tokens::StaticTokens,
    *,
};

const NOW: u64 = 1_800_000_000;
const SECRET: &[u8; 32] = b"0123456789abcdef0123456789abcdef";
const RS256_JWT: &str = include_str!("testdata/rs256.jwt");
const RS256_PEM: &str = include_str!("testdata/rs256.pem");
const RSA1024_PEM: &str = include_str!("testdata/rsa1024.pem");
const KEYS_JSON: &str = include_str!("testdata/keys.json");
const CALL: &str = "/modal.task_command_router.TaskCommandRouter/TaskExecPoll";

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn ed25519_pem(pair: &Ed25519KeyPair) -> String {
    let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    der.extend_from_slice(pair.public_key().as_ref());
    let text = BASE64_STANDARD.encode(der);
    format!("-----BEGIN PUBLIC KEY-----\n{text}\n-----END PUBLIC KEY-----\n")
}

fn signed(head: Value, claims: Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(&head), part(&claims));
    let signature = BASE64_URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn with_secret(secret: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
    move |message| hmac::sign(&key, message).as_ref().to_vec()
}

fn hs256(claims: Value) -> String {
    signed(json!({"alg": "HS256", "typ": "JWT"}), claims, with_secret(SECRET))
}

fn eddsa(head: Value, claims: Value, seed: u8) -> String {
    signed(head, claims, |message| pair(seed).sign(message).as_ref().to_vec())
}

fn good() -> Value {
    json!({"exp": NOW + 60, "task_id": "t1", "sub": "me"})
}

fn good_but(name: &str, value: Value) -> Value {
    let mut claims = good();
    claims[name] = value;
    claims
}

fn policy(keys: Vec<Key>, fixed: &[u8], claim: Option<&str>) -> Arc<Policy> {
    let task = claim.map(|claim| (claim.to_string(), "t1".to_string()));
    let fixed = StaticTokens::parse(fixed).unwrap_or_default();
    let tokens = Tokens::new(keys, fixed, task);
    Arc::new(Policy::new(tokens, Certificates::NotAsked, BTreeSet::from([0, 7])))
}

fn secret_policy() -> Arc<Policy> {
    policy(vec![Key::hs256(SECRET).unwrap()], b"", Some("task_id"))
}

fn tcp() -> Peer {
    Peer::Tcp { address: "127.0.0.1:9".parse().unwrap(), certificate: None }
}

fn headers(values: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in values {
        headers.append(AUTHORIZATION, value.parse().unwrap());
    }
    headers
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn session(policy: &Arc<Policy>, peer: &Peer) -> Session {
    Session::new(policy.clone(), peer.clone())
}

fn admit(policy: &Arc<Policy>, peer: &Peer, values: &[&str]) -> Result<Option<Caller>, Refusal> {
    session(policy, peer).admit(CALL, &headers(values), at(NOW))
}

/// What a TCP peer with this token is called, or why it is refused.
fn subject(policy: &Arc<Policy>, token: &str) -> Result<String, Refusal> {
    admit(policy, &tcp(), &[&format!("Bearer {token}")])
        .map(|caller| caller.unwrap().subject.to_string())
}

#[test]
fn claims_at_and_beyond_each_edge() {
    let policy = secret_policy();
    let ok = Ok("me".to_string());
    for (claims, want) in [
        (good(), ok.clone()),
        (good_but("exp", json!(NOW - 29)), ok.clone()),
        (good_but("exp", json!(NOW as f64 + 0.5)), ok.clone()),
        (good_but("exp", json!(NOW - 30)), Err(Refusal::Expired)),
        (good_but("exp", json!(-1)), Err(Refusal::Expired)),
        (good_but("exp", json!((NOW + 60).to_string())), Err(Refusal::Bad)),
        (good_but("exp", Value::Null), Err(Refusal::Bad)),
        (good_but("nbf", json!(NOW + 30)), ok.clone()),
        (good_but("nbf", json!(NOW + 31)), Err(Refusal::Early)),
        (good_but("nbf", json!("soon")), Err(Refusal::Bad)),
        (good_but("task_id", json!("t2")), Err(Refusal::OtherTask)),
        (good_but("task_id", json!("t1 ")), Err(Refusal::OtherTask)),
        (good_but("task_id", json!(["t1"])), Err(Refusal::Bad)),
        (json!({"exp": NOW + 60}), Err(Refusal::Bad)),
        (json!({"task_id": "t1"}), Err(Refusal::Bad)),
        (json!([good()]), Err(Refusal::Bad)),
    ] {
        assert_eq!(subject(&policy, &hs256(claims.clone())), want, "{claims}");
    }
    // An expired token of another task says no more than that it has expired.
    let both = json!({"exp": NOW - 60, "task_id": "t2"});
    assert_eq!(subject(&policy, &hs256(both)), Err(Refusal::Expired));
}

#[test]
fn the_task_claim_has_a_name_or_is_off() {
    let key = || vec![Key::hs256(SECRET).unwrap()];
    let other = hs256(json!({"exp": NOW + 60, "task": "t1"}));
    assert_eq!(subject(&policy(key(), b"", Some("task")), &other), Ok("token".into()));
    assert_eq!(subject(&policy(key(), b"", Some("task_id")), &other), Err(Refusal::Bad));
    assert_eq!(subject(&policy(key(), b"", None), &other), Ok("token".into()));
}

#[test]
fn a_key_has_one_algorithm() {
    let pem = ed25519_pem(&pair(1));
    let keys = vec![Key::public_pem(pem.as_bytes()).unwrap(), Key::hs256(SECRET).unwrap()];
    let policy = policy(keys, b"", Some("task_id"));
    let eddsa_head = || json!({"alg": "EdDSA"});
    assert_eq!(subject(&policy, &eddsa(eddsa_head(), good(), 1)), Ok("me".into()));
    assert_eq!(subject(&policy, &eddsa(json!({"alg": "Ed25519"}), good(), 1)), Ok("me".into()));
    assert_eq!(subject(&policy, &hs256(good())), Ok("me".into()));
    let public = pair(1).public_key().as_ref().to_vec();
    for (why, token) in [
        ("another pair", eddsa(eddsa_head(), good(), 2)),
        ("public key as secret", signed(json!({"alg": "HS256"}), good(), with_secret(&public))),
        ("PEM as secret", signed(json!({"alg": "HS256"}), good(), with_secret(pem.as_bytes()))),
        ("no signature", signed(json!({"alg": "none"}), good(), |_| Vec::new())),
        ("none, signed", signed(json!({"alg": "none"}), good(), with_secret(SECRET))),
        ("other case", signed(json!({"alg": "hs256"}), good(), with_secret(SECRET))),
        ("other hash", signed(json!({"alg": "HS512"}), good(), with_secret(SECRET))),
        ("no alg", signed(json!({"typ": "JWT"}), good(), with_secret(SECRET))),
        ("crit", signed(json!({"alg": "HS256", "crit": ["b64"]}), good(), with_secret(SECRET))),
        ("alg of the other key", eddsa(json!({"alg": "HS256"}), good(), 1)),
        ("empty signature", signed(json!({"alg": "HS256"}), good(), |_| Vec::new())),
    ] {
        assert_eq!(subject(&policy, &token), Err(Refusal::Bad), "{why}");
    }
}

#[test]
fn what_is_no_token() {
    let policy = secret_policy();
    let token = hs256(good());
    let parts: Vec<_> = token.split('.').collect();
    let padded = format!("{token}=");
    let longer = format!("{token}.{}", parts[2]);
    let shorter = format!("{}.{}", parts[0], parts[1]);
    let swapped = hs256(good_but("sub", json!("you")));
    let swapped = format!("{}.{}.{}", parts[0], swapped.split('.').nth(1).unwrap(), parts[2]);
    for bad in ["", ".", "..", "a.b.c", "....", &padded, &longer, &shorter, &swapped, "é"] {
        assert_eq!(subject(&policy, bad), Err(Refusal::Bad), "{bad}");
    }
    let bearer = format!("Bearer {token}");
    let lower = format!("bearer {token}");
    let basic = format!("Basic  {token}");
    assert!(admit(&policy, &tcp(), &[&lower]).is_ok());
    for bad in [vec![], vec![&*bearer, &*bearer], vec![&*token], vec![&*basic], vec!["Bearer"]] {
        assert_eq!(admit(&policy, &tcp(), &bad), Err(Refusal::Missing), "{bad:?}");
    }
}

#[test]
fn rs256_by_pem_and_by_key_set() {
    let token = RS256_JWT.trim();
    let pem = vec![Key::public_pem(RS256_PEM.as_bytes()).unwrap()];
    assert_eq!(subject(&policy(pem, b"", Some("task_id")), token), Ok("rsa".into()));
    let set = Key::jwks(KEYS_JSON.as_bytes()).unwrap();
    assert_eq!((set.keys.len(), set.ignored.len()), (1, 6), "{set:?}");
    let policy = policy(set.keys, b"", Some("task_id"));
    assert_eq!(subject(&policy, token), Ok("rsa".into()));
    let broken = token.replace("cnNhIn0.R", "cnNhIn0.S");
    assert_ne!(broken, token);
    assert_eq!(subject(&policy, &broken), Err(Refusal::Bad));
}

#[test]
fn a_token_may_name_its_key() {
    let jwk = |seed: u8, kid: &str| {
        let x = BASE64_URL_SAFE_NO_PAD.encode(pair(seed).public_key());
        json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x})
    };
    let set = json!({"keys": [jwk(1, "one"), jwk(2, "two")]}).to_string();
    let policy = policy(Key::jwks(set.as_bytes()).unwrap().keys, b"", Some("task_id"));
    let head = |kid: Option<&str>| match kid {
        Some(kid) => json!({"alg": "EdDSA", "kid": kid}),
        None => json!({"alg": "EdDSA"}),
    };
    for (kid, seed, want) in [
        (Some("one"), 1, Ok("me".to_string())),
        (Some("two"), 2, Ok("me".into())),
        (None, 2, Ok("me".into())),
        (Some("one"), 2, Err(Refusal::Bad)),
        (Some("three"), 1, Err(Refusal::Bad)),
        (None, 3, Err(Refusal::Bad)),
    ] {
        assert_eq!(subject(&policy, &eddsa(head(kid), good(), seed)), want, "{kid:?} {seed}");
    }
}

#[test]
fn keys_of_no_use() {
    let hs256 = |bytes: &[u8]| Key::hs256(bytes).err();
    assert_eq!(hs256(&[b'x'; 31]), Some(KeyError::Short(31)));
    assert_eq!(hs256(&[&[b'x'; 31][..], b"\n"].concat()), Some(KeyError::Short(31)));
    assert_eq!(hs256(&[&[b'x'; 32][..], b"\n"].concat()), None);
    assert_eq!(hs256(RS256_PEM.as_bytes()), Some(KeyError::PublicSecret));
    let pem = |text: &str| Key::public_pem(text.as_bytes()).err();
    assert_eq!(pem(""), Some(KeyError::Pem));
    assert_eq!(pem(&RS256_PEM.replace("PUBLIC", "PRIVATE")), Some(KeyError::Pem));
    assert_eq!(pem(&[RS256_PEM, RS256_PEM].concat()), Some(KeyError::Pem));
    assert_eq!(pem(RSA1024_PEM), Some(KeyError::RsaBits(1024)));
    assert_eq!(pem(&ed25519_pem(&pair(1)).replace("MCow", "MCox")), Some(KeyError::Kind));
    assert!(matches!(Key::jwks(b"{}").err(), Some(KeyError::Set(_))));
    assert_eq!(Key::jwks(b"{\"keys\":[]}").err(), Some(KeyError::EmptySet));
}

#[test]
fn one_trailing_newline_is_no_part_of_a_secret() {
    let with = [&SECRET[..], b"\n"].concat();
    let policy = policy(vec![Key::hs256(&with).unwrap()], b"", Some("task_id"));
    assert!(subject(&policy, &hs256(good())).is_ok());
    let two = signed(json!({"alg": "HS256"}), good(), with_secret(&with));
    assert_eq!(subject(&policy, &two), Err(Refusal::Bad));
}

#[test]
fn static_tokens_go_beside_signed_ones() {
    let policy = policy(vec![Key::hs256(SECRET).unwrap()], b"fixed\nother\n", Some("task_id"));
    assert_eq!(subject(&policy, "other"), Ok("static token".into()));
    assert_eq!(subject(&policy, &hs256(good())), Ok("me".into()));
    assert_eq!(subject(&policy, "fixe"), Err(Refusal::Bad));
}

#[test]
fn peers() {
    let open = || policy(Vec::new(), b"", None);
    let locked = || policy(Vec::new(), b"fixed", None);
    let certified = Peer::Tcp {
        address: "[::1]:9".parse().unwrap(),
        certificate: Some("certificate sha256:00".into()),
    };
    let fixed = ["Bearer fixed"];
    let subject = |policy: &Arc<Policy>, peer: &Peer, values: &[&str]| {
        admit(policy, peer, values).map(|caller| caller.unwrap().subject.to_string())
    };
    assert_eq!(subject(&open(), &tcp(), &[]), Ok("127.0.0.1:9".into()));
    assert_eq!(subject(&open(), &Peer::Unix { uid: 7 }, &[]), Ok("uid 7".into()));
    assert_eq!(subject(&open(), &Peer::Unix { uid: 8 }, &fixed), Err(Refusal::Uid(8)));
    assert_eq!(subject(&locked(), &Peer::Unix { uid: 7 }, &[]), Err(Refusal::Missing));
    assert_eq!(subject(&locked(), &Peer::Unix { uid: 7 }, &fixed), Ok("static token".into()));
    assert_eq!(subject(&locked(), &Peer::Unix { uid: 8 }, &fixed), Err(Refusal::Uid(8)));

    let required = |tokens: &'static [u8]| {
        let mut policy = Arc::into_inner(policy(Vec::new(), tokens, None)).unwrap();
        policy.certificates = Certificates::Required;
        Arc::new(policy)
    };
    let mutual = required(b"");
    assert_eq!(subject(&mutual, &certified, &[]), Ok("[::1]:9 (certificate sha256:00)".into()));
    assert_eq!(subject(&mutual, &tcp(), &[]), Err(Refusal::Missing));
    let both = required(b"fixed");
    assert_eq!(subject(&both, &certified, &[]), Err(Refusal::Missing));
    assert_eq!(subject(&both, &certified, &fixed), Ok("static token".into()));

    assert!(open().lets_in_commands(7) && !open().lets_in_commands(8));
    assert!(!locked().lets_in_commands(7));
}

#[test]
fn a_session_remembers_a_token_but_not_that_it_was_valid() {
    let session = session(&secret_policy(), &tcp());
    let ask = |token: &str, now| {
        let headers = headers(&[&format!("Bearer {token}")]);
        session.admit(CALL, &headers, at(now)).map(|caller| caller.unwrap().subject.to_string())
    };
    let (mine, yours) = (hs256(good()), hs256(good_but("sub", json!("you"))));
    let elsewhere = hs256(good_but("task_id", json!("t2")));
    for _ in 0..2 {
        assert_eq!(ask(&mine, NOW), Ok("me".into()));
        assert_eq!(ask(&mine, NOW + 90), Err(Refusal::Expired));
        assert_eq!(ask(&mine, NOW), Ok("me".into()));
        assert_eq!(ask(&yours, NOW), Ok("you".into()));
        assert_eq!(ask(&elsewhere, NOW), Err(Refusal::OtherTask));
        assert_eq!(ask("x", NOW), Err(Refusal::Bad));
    }
}

#[test]
fn health_is_open_and_reflection_is_not() {
    let policy = secret_policy();
    let ask = |path| session(&policy, &tcp()).admit(path, &HeaderMap::new(), at(NOW));
    assert_eq!(ask("/grpc.health.v1.Health/Check"), Ok(None));
    assert_eq!(ask("/grpc.health.v1.Health/Watch"), Ok(None));
    for path in ["/grpc.health.v1.Healthy/Check", "/grpc.reflection.v1.ServerReflection/X", "/"] {
        assert_eq!(ask(path), Err(Refusal::Missing), "{path}");
    }
}

#[test]
fn codes() {
    for (refusal, code) in [
        (Refusal::Missing, Code::Unauthenticated),
        (Refusal::Bad, Code::Unauthenticated),
        (Refusal::Expired, Code::Unauthenticated),
        (Refusal::Early, Code::Unauthenticated),
        (Refusal::OtherTask, Code::PermissionDenied),
        (Refusal::Uid(1), Code::PermissionDenied),
    ] {
        assert_eq!(refusal.status().code(), code, "{refusal:?}");
    }
}

proptest! {
    #[test]
    fn strangers_bytes_never_pass_and_never_panic(text in "[ -~]{0,80}", der: Vec<u8>) {
        prop_assert!(subject(&secret_policy(), &text).is_err());
        let pem = format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            BASE64_STANDARD.encode(&der)
        );
        prop_assert!(Key::public_pem(pem.as_bytes()).is_err());
        prop_assert!(Key::jwks(&der).is_err());
    }

    #[test]
    fn a_token_with_one_bit_changed_does_not_pass(byte in 0usize..10_000, bit in 0u8..7) {
        let mut token = hs256(good()).into_bytes();
        let at = byte % token.len();
        token[at] ^= 1 << bit;
        if let Ok(changed) = std::str::from_utf8(&token)
            && changed.bytes().all(|b| b.is_ascii_graphic())
        {
            prop_assert!(subject(&secret_policy(), changed).is_err());
        }
    }
}
