//! Tests of the whole configuration: what defaults come to, and what is refused.

use std::io::Write;

use clap::{Args, Command, FromArgMatches};

use super::*;
use crate::{
    core::{image::Location, limits},
    image::images::{Packing, RemoteImages},
};

/// The flags as a shell would split them; variables are read too, as in the real program.
fn parse(flags: &[&str]) -> ServeArgs {
    let command = ServeArgs::augment_args(Command::new("serve"));
    let matches = command.mut_args(|arg| arg.env(None::<&'static str>));
    let matches = matches.try_get_matches_from([&["serve"], flags].concat()).unwrap();
    ServeArgs::from_arg_matches(&matches).unwrap()
}

fn check(flags: &[&str]) -> Result<Config, Vec<String>> {
    Config::check(parse(flags), b"127.0.0.1 localhost\n10.0.0.1 box\n")
}

/// Flags and a piece of each mistake, in order.
fn refused(flags: &[&str], mistakes: &[&str]) {
    let found = check(flags).err().unwrap_or_default();
    assert_eq!(found.len(), mistakes.len(), "{flags:?}: {found:#?}");
    for (found, mistake) in found.iter().zip(mistakes) {
        assert!(found.contains(mistake), "{flags:?}: {found:?} lacks {mistake:?}");
    }
}

fn file(bytes: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    file
}

#[test]
fn defaults_are_those_of_the_limits() {
    let config = check(&[]).unwrap();
    assert_eq!(config.listen, [Address::Unix("/run/doorward.sock".into())]);
    assert_eq!(config.spool.stream_max, limits::SPOOL_STREAM_BYTES);
    assert_eq!(config.spool.total_max, limits::SPOOL_TOTAL_BYTES);
    assert_eq!(config.spool.memory_max, limits::SPOOL_MEMORY_BYTES);
    assert_eq!(config.spool.full, SpoolFull::DropOldest);
    assert_eq!(config.linger_quiet, limits::LINGER_QUIET);
    assert_eq!(config.linger_max, limits::LINGER_MAX);
    assert_eq!(config.grace, limits::GRACE);
    assert_eq!(config.drain, limits::DRAIN);
    assert_eq!(config.max_live_execs, limits::LIVE_EXECS);
    assert_eq!(config.remember_execs, limits::REMEMBER_EXECS);
    assert_eq!(config.remember_for, limits::REMEMBER_FOR);
    let images = ImageSettings {
        store: ImageStore::State,
        store_max: limits::IMAGE_STORE_BYTES,
        compression: Packing::Zstd,
        remote: RemoteImages::Refused,
        ca: None,
        variables: Variables::default(),
    };
    assert_eq!(config.images, images);
    assert!(config.entrypoint.is_none() && config.task_id.is_none() && config.tls.is_none());
    assert_eq!(config.notices, [""; 0]);
    assert!(Config::from_args(ServeArgs::defaults()).is_ok());
}

#[test]
fn all_mistakes_come_at_once() {
    refused(
        &[
            "--listen=nowhere",
            "--spool-full=maybe",
            "--grace=4x",
            "--drain=x",
            "--keep=maybe",
            "--max-live-execs=0",
            "--spool-stream-max=1GB",
            "--log=loud",
            "--log-format=xml",
            "--state-dir=here",
            "--image-store=here",
            "--image-store-max=0",
            "--image-compression=xz",
            "--allow-remote-images=maybe",
            "--allow-uid=root",
            "--entrypoint-stdin=tty",
        ],
        &[
            "--listen",
            "--allow-uid",
            "--state-dir",
            "--image-store",
            "--image-store-max",
            "--image-compression",
            "--allow-remote-images",
            "--spool-stream-max",
            "--spool-full",
            "--grace",
            "--drain",
            "--max-live-execs",
            "--entrypoint-stdin",
            "--keep",
            "--log-format",
            "--log",
        ],
    );
}

#[test]
fn where_images_are_kept() {
    for (text, path) in [("layout:/srv/images", "/srv/images"), ("/srv/images", "/srv/images")] {
        let config = check(&[&format!("--image-store={text}")]).unwrap();
        assert_eq!(config.images.store, ImageStore::Layout(path.into()));
    }
    for text in ["oci://registry/images", "oci+http://registry:5000/a/b", "s3://bucket/images"] {
        match check(&[&format!("--image-store={text}")]) {
            Ok(config) => assert_eq!(config.images.store, shared(text)),
            Err(mistakes) => assert!(!cfg!(feature = "s3") && mistakes[0].contains("`s3`")),
        }
    }
    for (text, mistake) in [
        ("oci://registry", "repository"),
        ("oci://registry/images:tag", "it has a tag"),
        ("s3://x", "bucket"),
        ("http://registry/images", "it begins with none of oci://"),
        ("layout:here", "absolute path"),
    ] {
        refused(&[&format!("--image-store={text}")], &[mistake]);
    }
    let flags = ["--allow-remote-images", "--image-compression=none", "--image-store-max=1GiB"];
    let images = check(&flags).unwrap().images;
    assert_eq!(images.remote, RemoteImages::Allowed);
    assert_eq!((images.compression, images.store_max), (Packing::Plain, 1 << 30));
}

fn shared(text: &str) -> ImageStore {
    ImageStore::Shared(Location::parse(text).unwrap())
}

#[test]
fn what_places_need_to_know_is_read_and_not_shown() {
    let env = file(b"# for the bucket\nAWS_ACCESS_KEY_ID=me\nAWS_SECRET_ACCESS_KEY='s3cret'\n");
    let flag = format!("--image-env-file={}", env.path().display());
    let images = check(&[&flag]).unwrap().images;
    assert_eq!(images.variables.0["AWS_SECRET_ACCESS_KEY"], "s3cret");
    let shown = format!("{images:?}");
    assert!(shown.contains("AWS_ACCESS_KEY_ID") && !shown.contains("s3cret"), "{shown}");
    let bad = file(b"no equals\n");
    let (env, ca) = (bad.path().display(), bad.path().display());
    let flags = [&format!("--image-env-file={env}")[..], &format!("--image-ca={ca}")];
    refused(&flags, &["--image-ca", "--image-env-file"]);
    let certificate = rcgen::generate_simple_self_signed(["r.example".to_owned()]).unwrap();
    let ca = file(certificate.cert.pem().as_bytes());
    let images = check(&[&format!("--image-ca={}", ca.path().display())]).unwrap().images;
    assert_eq!(images.ca.as_deref(), Some(ca.path()));
}

#[test]
fn a_tcp_listener_needs_authentication_and_off_loopback_tls() {
    refused(&["--listen=tcp://127.0.0.1:0"], &["no authentication"]);
    refused(&["--listen=tcp://[::1]:0"], &["no authentication"]);
    refused(&["--listen=tcp://box:80"], &["no authentication", "no TLS"]);
    refused(&["--listen=tcp://0.0.0.0:80", "--allow-anonymous"], &["no TLS"]);
    assert!(check(&["--listen=tcp://localhost:0", "--allow-anonymous"]).is_ok());
    assert!(check(&["--listen=tcp://[::ffff:127.0.0.1]:0", "--allow-anonymous"]).is_ok());
    let both = ["--listen=tcp://box:80", "--allow-anonymous", "--allow-plaintext"];
    assert!(check(&both).is_ok());
    let token = file(b"secret\n");
    let token = format!("--token-file={}", token.path().display());
    assert!(check(&["--listen=tcp://127.0.0.1:0", &token]).is_ok());
    let config = check(&["--listen=tcp://127.0.0.1:0", &token, "--allow-anonymous"]).unwrap();
    assert!(config.notices[0].contains("no effect"), "{:?}", config.notices);
}

#[test]
fn commands_that_could_call_are_a_hole() {
    let own = rustix::process::geteuid().as_raw();
    let token = file(b"secret\n");
    let token = format!("--token-file={}", token.path().display());
    let hole = |flags: &[&str], uid| check(flags).unwrap().hole(uid).is_some();
    assert!(hole(&[], own) && hole(&[], 0));
    assert!(!hole(&[], 4242) && hole(&["--allow-uid=4242"], 4242));
    assert!(!hole(&[&token], own));
    assert!(!hole(&["--listen=tcp://127.0.0.1:0", "--allow-anonymous"], own));
}

#[test]
fn a_task_claim_needs_a_task() {
    let secret = file(&[b'x'; 32]);
    let secret = format!("--jwt-hs256-secret-file={}", secret.path().display());
    refused(&[&secret], &["--task-id is needed"]);
    assert!(check(&[&secret, "--task-id=t1"]).is_ok());
    assert!(check(&[&secret, "--jwt-task-claim="]).is_ok());
}

#[test]
fn bad_files_are_named_once() {
    let short = file(&[b'x'; 31]);
    let short = format!("--jwt-hs256-secret-file={}", short.path().display());
    refused(&["--listen=tcp://127.0.0.1:0", &short], &["31 bytes"]);
    refused(&["--listen=tcp://127.0.0.1:0", "--token-file=/no/such"], &["No such file"]);
    refused(&["--tls-cert=/no/such"], &["--tls-key"]);
    refused(&["--tls-key=/no/such"], &["--tls-cert"]);
    refused(&["--client-ca=/no/such"], &["--tls-cert"]);
    let large = file(&vec![b'x'; 1 + usize::try_from(limits::KEY_FILE_BYTES_MAX).unwrap()]);
    let large = format!("--token-file={}", large.path().display());
    refused(&[&large], &["more than"]);
}

#[test]
fn the_entrypoint_and_when_it_is_ready() {
    let config = check(&["--ready-tcp=8080", "--keep", "--", "sh", "-c", "true"]).unwrap();
    let entrypoint = config.entrypoint.unwrap();
    assert_eq!(entrypoint.command, ["sh", "-c", "true"]);
    assert_eq!(entrypoint.ready, Ready::Tcp("127.0.0.1:8080".parse().unwrap()));
    assert_eq!(entrypoint.end, EntrypointEnd::Keep);
    assert_eq!(entrypoint.output, EntrypointOutput::Both);
    assert_eq!(entrypoint.stdin, EntrypointStdin::Null);
    refused(&["--ready-command=true"], &["need a command"]);
    refused(&["--ready-command=true", "--ready-tcp=1", "--", "sh"], &["exclude each other"]);
    refused(&["--ready-tcp=box:0", "--", "sh"], &["needs a port"]);
}

#[test]
fn other_users_widen_the_sockets_mode() {
    assert_eq!(check(&["--allow-uid=0"]).unwrap().reach, Reach::Own);
    assert_eq!(check(&["--allow-uid=4242,0"]).unwrap().reach, Reach::Others);
    refused(&["--listen=unix:///run/a", "--listen=unix:///run/a"], &["given twice"]);
}
