//! Keys that tokens are checked with, each bound to its one algorithm.
//!
//! A key file decides the algorithm, never a token: an HS256 token is not looked at with a public
//! key, and `none` is no algorithm at all.

use std::fmt;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ring::{hmac, signature};
use serde::Deserialize;
use tokio_rustls::rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject};

use crate::core::limits::{HS256_SECRET_BYTES_MIN, KEYS_MAX};

/// One key.
pub struct Key {
    /// Its name in a key set; a token may ask for it.
    id: Option<String>,
    material: Material,
}

enum Material {
    Hs256(hmac::Key),
    Ed25519([u8; 32]),
    Rs256 { n: Vec<u8>, e: Vec<u8> },
}

/// The usable keys of a key set, and why each other one is not.
#[derive(Debug)]
pub struct KeySet {
    /// At least one.
    pub keys: Vec<Key>,
    /// One line for each key that was left out.
    pub ignored: Vec<String>,
}

/// Why a file is no key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyError {
    /// An HS256 secret is shorter than its hash.
    Short(usize),
    /// It is a public key, which must never be an HS256 secret.
    PublicSecret,
    /// It is no PEM file with one `PUBLIC KEY`.
    Pem,
    /// It is a public key of a kind that is not known.
    Kind,
    /// It is an RSA key of fewer than 2048 or more than 8192 bits.
    RsaBits(usize),
    /// It is no JSON Web Key Set.
    Set(String),
    /// No key of the set can be used.
    EmptySet,
    /// The set has more than [`KEYS_MAX`] keys.
    TooMany,
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Short(bytes) => {
                write!(f, "has {bytes} bytes, HS256 needs at least {HS256_SECRET_BYTES_MIN}")
            }
            Self::PublicSecret => f.write_str("is a public key or certificate, no secret"),
            Self::Pem => f.write_str("is not PEM with one PUBLIC KEY"),
            Self::Kind => f.write_str("is neither an Ed25519 nor an RSA public key"),
            Self::RsaBits(bits) => write!(f, "is an RSA key of {bits} bits, not 2048 to 8192"),
            Self::Set(why) => write!(f, "is no JSON Web Key Set: {why}"),
            Self::EmptySet => f.write_str("has no key that can be used (Ed25519 or RSA)"),
            Self::TooMany => write!(f, "has more than {KEYS_MAX} keys"),
        }
    }
}

impl std::error::Error for KeyError {}

impl Key {
    /// An HS256 secret as it is in its file: one trailing line end is not part of it.
    pub fn hs256(bytes: &[u8]) -> Result<Self, KeyError> {
        let secret = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
        if [b"-----BEGIN PUBLIC".as_slice(), b"-----BEGIN RSA PUBLIC", b"-----BEGIN CERT"]
            .iter()
            .any(|start| secret.trim_ascii_start().starts_with(start))
        {
            return Err(KeyError::PublicSecret);
        }
        if secret.len() < HS256_SECRET_BYTES_MIN {
            return Err(KeyError::Short(secret.len()));
        }
        Ok(Self { id: None, material: Material::Hs256(hmac::Key::new(hmac::HMAC_SHA256, secret)) })
    }

    /// A public key in PEM (`PUBLIC KEY`): Ed25519 for EdDSA, RSA for RS256.
    pub fn public_pem(bytes: &[u8]) -> Result<Self, KeyError> {
        let mut found = SubjectPublicKeyInfoDer::pem_slice_iter(bytes);
        let (Some(Ok(der)), None) = (found.next(), found.next()) else {
            return Err(KeyError::Pem);
        };
        let material = from_spki(&der).ok_or(KeyError::Kind)?;
        Ok(Self { id: None, material: material.checked()? })
    }

    /// A JSON Web Key Set (RFC 7517). Keys that cannot be used are left out and named.
    pub fn jwks(bytes: &[u8]) -> Result<KeySet, KeyError> {
        let set: JwkSet =
            serde_json::from_slice(bytes).map_err(|e| KeyError::Set(e.to_string()))?;
        if set.keys.len() > KEYS_MAX {
            return Err(KeyError::TooMany);
        }
        let (mut keys, mut ignored) = (Vec::new(), Vec::new());
        for (number, value) in set.keys.into_iter().enumerate() {
            match serde_json::from_value(value).map_err(|e| e.to_string()).and_then(from_jwk) {
                Ok(key) => keys.push(key),
                Err(why) => ignored.push(format!("key {}: {why}", number + 1)),
            }
        }
        if keys.is_empty() { Err(KeyError::EmptySet) } else { Ok(KeySet { keys, ignored }) }
    }

    /// Whether a token whose `alg` is this may be checked with this key.
    pub(super) fn takes(&self, alg: &str) -> bool {
        match self.material {
            Material::Hs256(_) => alg == "HS256",
            // Two names of one algorithm: RFC 8037 and RFC 9864.
            Material::Ed25519(_) => alg == "EdDSA" || alg == "Ed25519",
            Material::Rs256 { .. } => alg == "RS256",
        }
    }

    /// Whether a token that asks for the key `id` may be checked with this one.
    pub(super) fn answers_to(&self, id: Option<&str>) -> bool {
        match (&self.id, id) {
            (Some(own), Some(asked)) => own == asked,
            (None, _) | (_, None) => true,
        }
    }

    /// Whether `signature` over `message` was made with this key.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Hs256(key) => hmac::verify(key, message, signature).is_ok(),
            Material::Ed25519(key) => signature::UnparsedPublicKey::new(&signature::ED25519, key)
                .verify(message, signature)
                .is_ok(),
            Material::Rs256 { n, e } => signature::RsaPublicKeyComponents { n, e }
                .verify(&signature::RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.material {
            Material::Hs256(_) => "HS256",
            Material::Ed25519(_) => "Ed25519",
            Material::Rs256 { .. } => "RS256",
        };
        write!(f, "{kind} key {:?}", self.id)
    }
}

impl Material {
    fn checked(self) -> Result<Self, KeyError> {
        if let Self::Rs256 { n, .. } = &self {
            let zeros: usize = n.first().map_or(0, |b| b.leading_zeros() as usize);
            let bits = n.len() * 8 - zeros;
            if !(2048..=8192).contains(&bits) {
                return Err(KeyError::RsaBits(bits));
            }
        }
        Ok(self)
    }
}

const SEQUENCE: u8 = 0x30;
const BIT_STRING: u8 = 0x03;
const INTEGER: u8 = 0x02;
const OBJECT: u8 = 0x06;
/// 1.3.101.112
const OID_ED25519: &[u8] = &[0x2b, 0x65, 0x70];
/// 1.2.840.113549.1.1.1
const OID_RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];

/// The key in a SubjectPublicKeyInfo (RFC 5280, RFC 8410, RFC 8017).
fn from_spki(der: &[u8]) -> Option<Material> {
    let (info, []) = element(SEQUENCE, der)? else { return None };
    let (algorithm, rest) = element(SEQUENCE, info)?;
    let (bits, []) = element(BIT_STRING, rest)? else { return None };
    // A bit string starts with how many of its last bits are unused: none here.
    let key = bits.strip_prefix(&[0])?;
    match element(OBJECT, algorithm)? {
        (OID_ED25519, []) => Some(Material::Ed25519(key.try_into().ok()?)),
        (OID_RSA, _null) => {
            let (numbers, []) = element(SEQUENCE, key)? else { return None };
            let (n, rest) = element(INTEGER, numbers)?;
            let (e, []) = element(INTEGER, rest)? else { return None };
            Some(Material::Rs256 { n: unsigned(n).to_vec(), e: unsigned(e).to_vec() })
        }
        _ => None,
    }
}

/// The content of the first DER element, which must have this tag, and what follows it.
fn element(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, rest) = der.split_first()?;
    if *found != tag {
        return None;
    }
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match *first {
        short @ 0..=0x7f => (usize::from(short), rest),
        0x81 => (usize::from(*rest.first()?), &rest[1..]),
        0x82 => {
            let (two, rest) = rest.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*two)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// A number without the zero bytes that keep it from looking negative.
fn unsigned(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|b| **b == 0).count();
    &bytes[zeros..]
}

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    crv: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    kid: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
}

/// A key without `alg` gets the one that its type stands for.
fn from_jwk(jwk: Jwk) -> Result<Key, String> {
    if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
        return Err("it is not for signatures".into());
    }
    let alg = jwk.alg.as_deref();
    let material = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("OKP", Some("Ed25519")) if matches!(alg, None | Some("EdDSA" | "Ed25519")) => {
            let x = number("x", jwk.x)?;
            Material::Ed25519(x.try_into().map_err(|_| "x is not of 32 bytes".to_string())?)
        }
        ("RSA", _) if matches!(alg, None | Some("RS256")) => {
            let (n, e) = (number("n", jwk.n)?, number("e", jwk.e)?);
            Material::Rs256 { n: unsigned(&n).to_vec(), e: unsigned(&e).to_vec() }
        }
        (kty, crv) => {
            let (crv, alg) = (crv.unwrap_or("-"), alg.unwrap_or("-"));
            return Err(format!("kty {kty}, crv {crv}, alg {alg} is not taken"));
        }
    };
    let material = material.checked().map_err(|e| e.to_string())?;
    Ok(Key { id: jwk.kid, material })
}

fn number(name: &str, text: Option<String>) -> Result<Vec<u8>, String> {
    let text = text.ok_or_else(|| format!("{name} is missing"))?;
    BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| format!("{name} is not base64url"))
}
