//! Archives from one store to another, and to and from the tools that people have.

use std::{
    io::{Read, Write},
    path::Path,
    process::{Command, Stdio},
};

use proptest::prelude::*;
use serde_json::json;
use tar::{EntryType, Header};

use super::{
    members::{Kind, Members},
    *,
};
use crate::{
    core::{
        image::{Digest, ImageId, Tag, Ttl},
        limits::IMPORT_MEMBERS_MAX,
    },
    image::{
        crypt::{self, Key, Purpose, Salt, Sealer},
        manifest::{
            Compression, Descriptor, Document, Draft, LayerMedia, NewLayer, Platform, media,
        },
        store::{
            NewImage, Store, Which,
            tests::{Place, at, blob, by_id, finished, skopeo, tar},
        },
    },
};

const NEVER: &dyn Fn() -> bool = &|| false;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut child =
        Command::new("gzip").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(bytes).unwrap();
    child.wait_with_output().unwrap().stdout
}

fn layers() -> [Vec<u8>; 3] {
    [tar("plain", b"1"), tar("gzip", b"2"), tar("zstd", &[3; 20_000])]
}

/// An image with one layer of each compression.
fn mixed(store: &Store) -> ImageId {
    let mut draft = Draft::empty(Platform::here());
    let mut blobs = Vec::new();
    let compressions = [Compression::None, Compression::Gzip, Compression::Zstd];
    for (bytes, compression) in layers().iter().zip(compressions) {
        let layer = match compression {
            Compression::None => blob(store, bytes),
            Compression::Gzip => blob(store, &gzip(bytes)),
            Compression::Zstd => blob(store, &zstd::encode_all(&bytes[..], 1).unwrap()),
        };
        let new = NewLayer {
            media: LayerMedia { compression, sealed: false },
            digest: layer.digest(),
            size: layer.size(),
            diff_id: Digest::of(bytes),
            salt: None,
        };
        draft.push(new, at(0));
        blobs.push(layer);
    }
    store.add_image(finished(store, draft, blobs, Ttl::Never), at(0)).unwrap().id().clone()
}

/// A sealed image of one layer.
fn sealed(store: &Store, key: &Key) -> ImageId {
    let bytes = &layers()[2];
    let (salt, config_salt) = (Salt::random().unwrap(), Salt::random().unwrap());
    let mut sealer = Sealer::new(store.writer().unwrap(), key, &salt, Purpose::Layer);
    sealer.write_all(&zstd::encode_all(&bytes[..], 1).unwrap()).unwrap();
    let layer = sealer.finish().unwrap().finish().unwrap();
    let mut draft = Draft::empty(Platform::here());
    let new = NewLayer {
        media: LayerMedia { compression: Compression::Zstd, sealed: true },
        digest: layer.digest(),
        size: layer.size(),
        diff_id: Digest::of(bytes),
        salt: Some(salt.to_string()),
    };
    draft.push(new, at(0));
    let config = crypt::seal(&draft.config(at(0)), key, &config_salt, Purpose::Config);
    let config = blob(store, &config);
    let mut described = Descriptor::new(media::SEALED_CONFIG, config.digest(), config.size());
    let salt = (crate::image::manifest::SALT_ANNOTATION.to_owned(), config_salt.to_string());
    described.annotations.extend([salt]);
    let manifest = draft.manifest(described);
    let blobs = vec![layer, config];
    let new = NewImage { manifest, blobs, ttl: Ttl::Never, snapshot_id: None, tag: None };
    store.add_image(new, at(0)).unwrap().id().clone()
}

fn exported(
    store: &Store,
    id: &ImageId,
    form: Form,
    names: &[&str],
    key: Option<&Key>,
) -> Result<Vec<u8>, TransferError> {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let hold = store.hold(id, at(0)).unwrap();
    let mut out = Vec::new();
    export(store, &hold, &Export { form, names: &names, key }, &mut out, NEVER).map(|()| out)
}

fn imported(store: &Store, archive: &[u8]) -> Result<Vec<Imported>, TransferError> {
    import(store, &mut &archive[..], Ttl::Never, at(1), NEVER)
}

/// Digests of an image's layers.
fn layer_digests(store: &Store, id: &ImageId) -> Vec<Digest> {
    let manifest = store.find(&by_id(id), at(1)).unwrap().manifest;
    let bytes = store.read_verified(&manifest, 1 << 20).unwrap();
    let Document::Image(manifest) = crate::image::manifest::parse(&bytes).unwrap() else {
        panic!("an index")
    };
    manifest.layers.iter().map(|layer| layer.digest).collect()
}

fn faults(store: &Store) -> usize {
    store.verify(&Which::All, at(1), NEVER).unwrap().len()
}

#[test]
fn an_oci_archive_carries_an_image_with_its_digests() {
    let (from, to) = (Place::new(), Place::new());
    let key = Key::parse(&[7; 16]).unwrap();
    for id in [mixed(&from.store), sealed(&from.store, &key)] {
        let archive =
            exported(&from.store, &id, Form::OciArchive, &["app:v1", "app:latest"], None).unwrap();
        let again = exported(&from.store, &id, Form::OciArchive, &["app:v1", "app:latest"], None);
        assert_eq!(again.unwrap(), archive);
        let found = imported(&to.store, &archive).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].names, ["app:v1", "app:latest"]);
        let manifest = |store: &Store, id| store.find(&by_id(id), at(1)).unwrap().manifest;
        assert_eq!(manifest(&to.store, &found[0].id), manifest(&from.store, &id));
    }
    assert_eq!(faults(&to.store), 0);
}

#[test]
fn a_docker_archive_carries_what_docker_knows() {
    let (from, to) = (Place::new(), Place::new());
    let id = mixed(&from.store);
    let names = ["team/app:v1", "registry:5000/a:b", "No:Docker", "im-x"];
    let archive = exported(&from.store, &id, Form::DockerArchive, &names, None).unwrap();
    let found = imported(&to.store, &archive).unwrap();
    assert_eq!(found[0].names, ["team/app:v1", "registry:5000/a:b"]);
    let [plain, gzipped, zstd] = layers();
    let wanted = [Digest::of(&plain), Digest::of(&gzip(&gzipped)), Digest::of(&zstd)];
    assert_eq!(layer_digests(&to.store, &found[0].id), wanted);
    assert_eq!(faults(&to.store), 0);
}

#[test]
fn a_sealed_image_becomes_a_docker_archive_with_its_key_alone() {
    let (from, to) = (Place::new(), Place::new());
    let key = Key::parse(&[7; 16]).unwrap();
    let id = sealed(&from.store, &key);
    let docker = |key| exported(&from.store, &id, Form::DockerArchive, &[], key);
    assert!(matches!(docker(None), Err(TransferError::Sealed)));
    let other = Key::parse(&[8; 16]).unwrap();
    assert!(matches!(docker(Some(&other)), Err(TransferError::Key(crypt::OpenError::Key))));
    let found = imported(&to.store, &docker(Some(&key)).unwrap()).unwrap();
    assert_eq!(layer_digests(&to.store, &found[0].id), [Digest::of(&layers()[2])]);
}

#[test]
fn an_archive_that_is_cut_or_changed_gives_nothing_and_leaves_nothing() {
    let (from, to) = (Place::new(), Place::new());
    let id = mixed(&from.store);
    for form in [Form::OciArchive, Form::DockerArchive] {
        let archive = exported(&from.store, &id, form, &[], None).unwrap();
        // What is behind the last member is the end alone.
        for cut in (0..archive.len() - 1024 - 512).step_by(700) {
            assert!(imported(&to.store, &archive[..cut]).is_err(), "{form:?} {cut}");
        }
        let mut refused = 0;
        for place in (0..archive.len() - 1024).step_by(333) {
            let mut changed = archive.clone();
            changed[place] ^= 0x40;
            match imported(&to.store, &changed) {
                Err(_) => refused += 1,
                // Padding, the bytes of a layer that nothing names, or the header of a directory.
                Ok(found) => drop(to.store.remove(&found[0].id, at(1)).unwrap()),
            }
        }
        assert!(refused > 10, "{form:?}: refused {refused} times");
        assert_eq!(to.store.list(at(1)).unwrap(), [], "{form:?}");
        assert_eq!(to.names("blobs/sha256"), [""; 0], "{form:?}");
    }
    let stopped = import(&to.store, &mut &[0; 512][..], Ttl::Never, at(1), &|| false);
    assert!(matches!(stopped, Err(TransferError::Archive { .. })));
    let archive = exported(&from.store, &id, Form::OciArchive, &[], None).unwrap();
    let stopped = import(&to.store, &mut &archive[..], Ttl::Never, at(1), &|| true);
    assert!(matches!(stopped, Err(TransferError::Stopped)));
}

#[test]
fn a_damaged_blob_is_not_exported() {
    let from = Place::new();
    let id = mixed(&from.store);
    let path = from.blob_path(&layer_digests(&from.store, &id)[2]);
    let mut bytes = std::fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    for form in [Form::OciArchive, Form::DockerArchive] {
        let refused = exported(&from.store, &id, form, &[], None);
        assert!(matches!(refused, Err(TransferError::Read(_))), "{form:?}: {refused:?}");
    }
}

/// An archive by hand.
struct Hand(Vec<u8>);

impl Hand {
    fn add(&mut self, kind: EntryType, name: &str, link: &str, data: &[u8]) {
        let mut header = Header::new_gnu();
        header.set_path(name).unwrap();
        header.set_entry_type(kind);
        header.set_link_name_literal(link).unwrap();
        header.set_size(data.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(data);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    fn file(&mut self, name: &str, data: &[u8]) {
        self.add(EntryType::Regular, name, "", data);
    }
}

#[test]
fn what_docker_links_and_what_old_versions_wrote_is_understood() {
    let to = Place::new();
    let layer = tar("a", b"1");
    let id = Digest::of(&layer);
    let config = json!({"architecture": "amd64", "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [id, id]}, "history": null});
    let about = json!([{"Config": "c.json", "RepoTags": null,
        "Layers": ["one/layer.tar", "two/layer.tar"]}]);
    let mut hand = Hand(Vec::new());
    hand.add(EntryType::Directory, "one/", "", b"");
    hand.file("one/VERSION", b"1.0");
    hand.file("one/json", b"{}");
    hand.file("./one/layer.tar", &layer);
    hand.add(EntryType::Symlink, "two/layer.tar", "../one/layer.tar", b"");
    hand.file("c.json", &serde_json::to_vec(&config).unwrap());
    hand.file("manifest.json", &serde_json::to_vec(&about).unwrap());
    hand.file("repositories", b"{}");
    let found = imported(&to.store, &hand.0).unwrap();
    assert_eq!(layer_digests(&to.store, &found[0].id), [id, id]);
    assert_eq!(to.names("blobs/sha256").len(), 3);
}

#[test]
fn what_lies_is_refused() {
    let to = Place::new();
    let layer = tar("a", b"1");
    let config = |diff_ids: &[Digest]| {
        let config = json!({"architecture": "amd64", "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": diff_ids}});
        serde_json::to_vec(&config).unwrap()
    };
    let about = br#"[{"Config": "c", "RepoTags": null, "Layers": ["l"]}]"#;
    let other = Digest::of(b"other");
    let docker = |config: &[u8], about: &[u8]| {
        let mut hand = Hand(Vec::new());
        hand.file("c", config);
        hand.file("l", &layer);
        hand.file("manifest.json", about);
        hand.0
    };
    let single = |name: &str, data: &[u8]| {
        let mut hand = Hand(Vec::new());
        hand.file(name, data);
        hand.0
    };
    let links = {
        let mut hand = Hand(Vec::new());
        for number in 0..=IMPORT_MEMBERS_MAX {
            hand.add(EntryType::Symlink, &number.to_string(), "x", b"");
        }
        hand.0
    };
    let long_name = {
        let mut hand = Hand(Vec::new());
        hand.add(EntryType::GNULongName, "x", "", &vec![b'x'; (1 << 20) + 1]);
        hand.0
    };
    for (archive, error) in [
        (docker(&config(&[other]), about), "is in truth"),
        (docker(&config(&[]), about), "1 layers, its configuration 0"),
        (docker(b"{}", about), "missing field"),
        (docker(&config(&[other]), b"[]"), "holds no image"),
        (docker(&config(&[other]), b"{}"), "manifest.json"),
        (single("x", b""), "neither index.json nor manifest.json"),
        (single("index.json", br#"{"schemaVersion": 2, "manifests": []}"#), "holds no image"),
        (single(&format!("blobs/sha256/{}", other.hex()), b"x"), "was announced"),
        (vec![b'x'; 512], "no tar archive"),
        (links, "more than 4096 members"),
        (long_name, "longer than a mebibyte"),
    ] {
        let refused = imported(&to.store, &archive).unwrap_err().to_string();
        assert!(refused.contains(error), "{error}: {refused}");
    }
    assert_eq!(to.names("blobs/sha256"), [""; 0]);
}

#[test]
fn long_names_and_large_sizes_are_read() {
    let long = "d/".repeat(100) + "file";
    let mut hand = Hand(Vec::new());
    hand.add(EntryType::GNULongName, "././@LongLink", "", format!("{long}\0").as_bytes());
    hand.file("cut", b"1");
    let record = format!(" path={long}\n");
    let record = format!("{}{record}", record.len() + 3);
    hand.add(EntryType::XGlobalHeader, "g", "", b"12 path=zzz\n");
    hand.add(EntryType::XHeader, "x", "", record.as_bytes());
    hand.file("cut", b"22");
    hand.add(EntryType::XHeader, "x", "", b"20 size=10000000000\n");
    hand.file("large", b"");
    let mut members = Members::new(&hand.0[..]);
    for content in ["1", "22"] {
        let member = members.next().unwrap().unwrap();
        assert_eq!((&member.name, member.kind), (&long, Kind::File));
        let mut data = String::new();
        members.read_to_string(&mut data).unwrap();
        assert_eq!(data, content);
    }
    assert_eq!(members.next().unwrap().unwrap().name, "large");
    // Its data is not there.
    assert!(members.read(&mut [0]).is_err());
    assert!(members.next().is_err());
}

#[test]
fn skopeo_carries_a_sealed_image_without_its_key() {
    let (from, to) = (Place::new(), Place::new());
    let key = Key::parse(&[7; 16]).unwrap();
    let id = sealed(&from.store, &key);
    let source = format!("oci:{}:{id}", from.store.path().display());
    let copy = tempfile::tempdir().unwrap();
    let target = format!("oci-archive:{}:sealed", copy.path().join("a.tar").display());
    let arguments = ["copy", "--preserve-digests", &source, &target];
    if skopeo("transfer::sealed", &arguments).is_none() {
        return;
    }
    let found = imported(&to.store, &std::fs::read(copy.path().join("a.tar")).unwrap()).unwrap();
    let image = to.store.find(&by_id(&found[0].id), at(1)).unwrap();
    assert!(image.sealed);
    assert_eq!(image.manifest, from.store.find(&by_id(&id), at(1)).unwrap().manifest);
    let opened = exported(&to.store, &image.id, Form::DockerArchive, &[], Some(&key));
    assert!(opened.is_ok(), "{opened:?}");
}

fn write(directory: &Path, name: &str, bytes: &[u8]) -> String {
    let path = directory.join(name);
    std::fs::write(&path, bytes).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn skopeo_reads_what_is_exported_and_what_it_writes_is_imported() {
    let (from, to) = (Place::new(), Place::new());
    let directory = tempfile::tempdir().unwrap();
    let id = mixed(&from.store);
    let manifest = from.store.find(&by_id(&id), at(0)).unwrap().manifest;
    for (form, transport) in
        [(Form::OciArchive, "oci-archive"), (Form::DockerArchive, "docker-archive")]
    {
        let archive = exported(&from.store, &id, form, &["app:v1"], None).unwrap();
        let path = write(directory.path(), &format!("{transport}.tar"), &archive);
        let source = format!("{transport}:{path}:app:v1");
        let Some(text) = skopeo("transfer::skopeo", &["inspect", &source]) else { return };
        let shown: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(shown["Layers"].as_array().unwrap().len(), 3);
        if form == Form::OciArchive {
            assert_eq!(shown["Digest"], manifest.to_string());
        }
        // It decompresses each layer and holds it against the configuration. To Docker's form it makes
        // nothing of an image with zstd.
        let targets = match form {
            Form::OciArchive => &["oci-archive"][..],
            Form::DockerArchive => &["oci-archive", "docker-archive"],
        };
        for target in targets {
            let copy = directory.path().join(format!("{transport}-{target}.tar"));
            let target = format!("{target}:{}:copy:v2", copy.display());
            skopeo("transfer::skopeo", &["copy", &source, &target]).unwrap();
            let found = imported(&to.store, &std::fs::read(&copy).unwrap()).unwrap();
            let name = found[0].names[0].as_str();
            assert!(["copy:v2", "docker.io/library/copy:v2"].contains(&name), "{name}");
            assert_eq!(layer_digests(&to.store, &found[0].id).len(), 3);
            to.store.tag(&found[0].id, &Tag::parse(name).unwrap(), at(1)).unwrap();
        }
    }
    assert_eq!(to.store.list(at(1)).unwrap().len(), 3);
    assert_eq!(faults(&to.store), 0);
}

proptest! {
    #[test]
    fn any_bytes_are_refused_or_read_without_a_panic(
        mut bytes in prop::collection::vec(prop::num::u8::ANY, 0..3000),
        kind in prop::sample::select(&b"0125KLxg"[..]),
        size in prop::option::of(0_u64..4000),
    ) {
        let mut hand = Hand(Vec::new());
        hand.add(EntryType::new(kind), "name", "link", b"");
        let header = Header::from_byte_slice(&hand.0[..512]).clone();
        let mut header = header;
        header.set_size(size.unwrap_or(u64::MAX));
        header.set_cksum();
        bytes.splice(..0, header.as_bytes().iter().copied());
        let mut members = Members::new(&bytes[..]);
        for _ in 0..20 {
            match members.next() {
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
    }
}
