//! Passwords for registries, where Docker and podman keep them.
//!
//! Looked at are `$REGISTRY_AUTH_FILE` alone if it is set, else `$DOCKER_CONFIG/config.json`, else
//! `$HOME/.docker/config.json`. Programs that keep passwords (`docker-credential-…`) are not run: an
//! agent starts no programs that nobody asked it to.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, Read},
    path::PathBuf,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Deserialize;

use crate::{
    core::{image::RegistryPlace, limits::CREDENTIALS_BYTES_MAX},
    image::remote::RemoteError,
};

/// What proves to a registry who we are, and where that was looked for.
pub(super) struct Credentials {
    pub(super) secret: Secret,
    /// For messages.
    pub(super) looked: String,
}

/// Never shown.
#[derive(PartialEq, Eq)]
pub(super) enum Secret {
    /// Nothing was found.
    None,
    /// A name and a password.
    Password { user: String, password: String },
    /// What a token service takes for a token.
    Identity(String),
    /// A token as it is.
    Token(String),
    /// A program has it.
    Program(String),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default)]
    creds_store: Option<String>,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
struct Entry {
    #[serde(default)]
    auth: Option<String>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<String>,
    #[serde(default)]
    identitytoken: Option<String>,
    #[serde(default)]
    registrytoken: Option<String>,
}

impl Credentials {
    /// Looks for what belongs to a place.
    pub(super) fn find(
        place: &RegistryPlace,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, RemoteError> {
        let set = |name: &str| environment.get(name).filter(|value| !value.is_empty());
        let path = if let Some(file) = set("REGISTRY_AUTH_FILE") {
            PathBuf::from(file)
        } else if let Some(directory) = set("DOCKER_CONFIG") {
            PathBuf::from(directory).join("config.json")
        } else if let Some(home) = set("HOME") {
            PathBuf::from(home).join(".docker/config.json")
        } else {
            let looked = "none of REGISTRY_AUTH_FILE, DOCKER_CONFIG and HOME is set".into();
            return Ok(Self { secret: Secret::None, looked });
        };
        let unusable = |why: &dyn fmt::Display| RemoteError::Setting {
            what: format!("use the credentials in {}: {why}", path.display()),
        };
        let mut bytes = Vec::new();
        let read = File::open(&path)
            .and_then(|file| file.take(CREDENTIALS_BYTES_MAX + 1).read_to_end(&mut bytes));
        match read {
            Ok(_) if bytes.len() as u64 > CREDENTIALS_BYTES_MAX => {
                return Err(unusable(&format!("it has more than {CREDENTIALS_BYTES_MAX} bytes")));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let looked = format!("{} is not there", path.display());
                return Ok(Self { secret: Secret::None, looked });
            }
            Err(error) => return Err(unusable(&error)),
        }
        // Of what is wrong in it only the place is told: the text may be a secret.
        let config: Config = serde_json::from_slice(&bytes).map_err(|error| {
            unusable(&format!("no JSON as it should be, line {}", error.line()))
        })?;
        let secret = config.secret(place).map_err(|why| unusable(&why))?;
        Ok(Self { secret, looked: path.display().to_string() })
    }
}

impl Config {
    fn secret(&self, place: &RegistryPlace) -> Result<Secret, String> {
        // The key that says most: podman has them for parts of a registry too.
        let mut key = format!("{}/{}", place.registry, place.repository);
        loop {
            let known = |(name, _): &(&String, &Entry)| bare_key(name) == key;
            if let Some((name, entry)) = self.auths.iter().find(known) {
                let secret = entry.secret().map_err(|why| format!("{why} of {name:?}"))?;
                if secret != Secret::None {
                    return Ok(secret);
                }
            }
            match key.rsplit_once('/') {
                Some((shorter, _)) => key.truncate(shorter.len()),
                None => break,
            }
        }
        let helper = self.cred_helpers.iter().find(|(name, _)| bare_key(name) == place.registry);
        let program = helper.map(|(_, program)| program).or(self.creds_store.as_ref());
        Ok(program.map_or(Secret::None, |program| Secret::Program(program.clone())))
    }
}

/// A key as registries are called: Docker has some with a scheme and a version.
fn bare_key(name: &str) -> &str {
    let name = name.strip_prefix("https://").or(name.strip_prefix("http://")).unwrap_or(name);
    let name = name.trim_end_matches('/');
    let name = name.strip_suffix("/v1").or(name.strip_suffix("/v2")).unwrap_or(name);
    if name == "index.docker.io" { "docker.io" } else { name }
}

impl Entry {
    fn secret(&self) -> Result<Secret, String> {
        let some = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        if let Some(token) = some(&self.identitytoken) {
            return Ok(Secret::Identity(token));
        }
        if let Some(token) = some(&self.registrytoken) {
            return Ok(Secret::Token(token));
        }
        if let (Some(user), Some(password)) = (some(&self.username), some(&self.password)) {
            return Ok(Secret::Password { user, password });
        }
        let Some(auth) = some(&self.auth) else { return Ok(Secret::None) };
        let decoded = STANDARD.decode(auth.trim()).ok();
        let text = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = text.as_deref().and_then(|text| text.split_once(':'));
        let (user, password) = pair.ok_or("there is no name and password in auth")?;
        // Docker's own files had zeros at the end once.
        let password = password.trim_end_matches('\0');
        Ok(Secret::Password { user: user.into(), password: password.into() })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Password { .. } => "Password",
            Self::Identity(_) => "Identity",
            Self::Token(_) => "Token",
            Self::Program(_) => "Program",
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::image::remote::Location;

    fn place(text: &str) -> RegistryPlace {
        match Location::parse(text).unwrap() {
            Location::Registry(place) => place,
            Location::Bucket(_) => panic!("{text}"),
        }
    }

    fn password(user: &str, password: &str) -> Secret {
        Secret::Password { user: user.into(), password: password.into() }
    }

    #[test]
    fn the_entry_that_says_most_is_taken() {
        let config: Config = serde_json::from_value(json!({
            "auths": {
                "https://index.docker.io/v1/": {"auth": STANDARD.encode("hub:a:b")},
                "r.example:5000": {"username": "u", "password": "p"},
                "r.example:5000/team": {"auth": STANDARD.encode("team:t")},
                "https://token.example": {"identitytoken": "i", "auth": STANDARD.encode("x:")},
                "empty.example": {},
                "odd.example": {"auth": "?"},
            },
            "credHelpers": {"help.example": "osx"},
            "credsStore": "desktop",
            "proxies": {"default": {}},
        }))
        .unwrap();
        let found = |text: &str| config.secret(&place(text));
        for (text, secret) in [
            ("oci://docker.io/library/a", password("hub", "a:b")),
            ("oci://r.example:5000/other", password("u", "p")),
            ("oci://r.example:5000/team/a", password("team", "t")),
            ("oci://r.example:5000/teams", password("u", "p")),
            ("oci://token.example/a", Secret::Identity("i".into())),
            ("oci://help.example/a", Secret::Program("osx".into())),
            ("oci://empty.example/a", Secret::Program("desktop".into())),
            ("oci://r.example/team", Secret::Program("desktop".into())),
        ] {
            assert!(found(text) == Ok(secret), "{text}: {:?}", found(text));
        }
        assert!(found("oci://odd.example/a").is_err());
    }

    #[test]
    fn files_are_looked_for_where_docker_and_podman_have_them() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
        let file = |name: &str, user: &str| {
            let auths = json!({"auths": {"r.example": {"username": user, "password": "p"}}});
            std::fs::create_dir_all(directory.path().join(name).parent().unwrap()).unwrap();
            std::fs::write(directory.path().join(name), auths.to_string()).unwrap();
        };
        file("auth.json", "podman");
        file("docker/config.json", "docker");
        file("home/.docker/config.json", "home");
        let find = |set: &[(&str, String)]| {
            let environment = set.iter().map(|(name, value)| ((*name).into(), value.clone()));
            Credentials::find(&place("oci://r.example/a"), &environment.collect())
        };
        let home = ("HOME", path("home"));
        let docker = ("DOCKER_CONFIG", path("docker"));
        let podman = ("REGISTRY_AUTH_FILE", path("auth.json"));
        for (set, user) in [
            (vec![home.clone()], "home"),
            (vec![home.clone(), docker.clone()], "docker"),
            (vec![home, docker, podman], "podman"),
        ] {
            assert!(find(&set).unwrap().secret == password(user, "p"), "{user}");
        }
        assert!(find(&[]).unwrap().secret == Secret::None);
        assert!(find(&[("HOME", path("none"))]).unwrap().secret == Secret::None);
        std::fs::write(directory.path().join("auth.json"), r#"{"auths": "s3cret"}"#).unwrap();
        let error = find(&[("REGISTRY_AUTH_FILE", path("auth.json"))]).err().unwrap();
        let text = format!("{error} {error:?}");
        assert!(text.contains("auth.json") && !text.contains("s3cret"), "{text}");
    }
}
