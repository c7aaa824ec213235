//! What goes when, with time as an argument.

use super::*;

#[test]
fn each_ttl_ends_when_it_says() {
    let hour = Duration::from_secs(3600);
    // ttl, whether it is tagged, when it is used again; there at, gone at.
    for (ttl, tagged, used, there, gone) in [
        (Ttl::Renewed(hour), false, None, Some(3599), Some(3600)),
        (Ttl::Renewed(hour), false, Some(1800), Some(5399), Some(5400)),
        (Ttl::Renewed(hour), true, None, Some(1 << 40), None),
        (Ttl::Never, false, None, Some(1 << 40), None),
        (Ttl::Until(at(100)), false, None, Some(99), Some(100)),
        (Ttl::Until(at(100)), false, Some(99), Some(99), Some(100)),
        (Ttl::Until(at(100)), true, None, Some(99), Some(100)),
    ] {
        let case = format!("{ttl:?} tagged={tagged} used={used:?}");
        let place = Place::new();
        let id = place.add(&[&tar("a", b"1")], ttl, at(0));
        if tagged {
            place.store.tag(&id, &Tag::parse("tag").unwrap(), at(0)).unwrap();
        }
        if let Some(used) = used {
            drop(place.store.hold(&id, at(used)).unwrap());
        }
        let keep = place.store.collect(at(there.unwrap()), u64::MAX).unwrap();
        assert_eq!(keep.images, [], "{case}");
        assert!(place.store.find(&by_id(&id), at(there.unwrap())).is_ok(), "{case}");
        let Some(gone) = gone else { continue };
        assert!(place.store.find(&by_id(&id), at(gone)).is_err(), "{case}: before collection");
        assert_eq!(place.store.list(at(gone)).unwrap(), [], "{case}");
        let collected = place.store.collect(at(gone), u64::MAX).unwrap();
        assert_eq!((collected.images, collected.blobs), (vec![id], 3), "{case}");
        assert_eq!(place.names("blobs/sha256"), [""; 0], "{case}");
    }
}

#[test]
fn a_hold_that_is_renewed_counts_as_use() {
    let place = Place::new();
    let id = place.add(&[&tar("a", b"1")], Ttl::Renewed(Duration::from_secs(10)), at(0));
    let hold = place.store.hold(&id, at(1)).unwrap();
    hold.renew(at(100)).unwrap();
    drop(hold);
    assert_eq!(place.store.find(&by_id(&id), at(109)).unwrap().last_used, at(100));
    assert!(place.store.find(&by_id(&id), at(110)).is_err());
}

#[test]
fn the_least_recently_used_go_until_the_rest_fits() {
    let place = Place::new();
    let store = &place.store;
    let layers: Vec<Vec<u8>> = (0..5).map(|n| tar(&format!("f{n}"), &vec![n; 20_000])).collect();
    let ids: Vec<ImageId> =
        layers.iter().zip(0..).map(|(layer, n)| place.add(&[layer], Ttl::Never, at(n))).collect();
    let each = store.bytes().unwrap() / 5;
    assert!(each > 20_000);
    // The first is used again, the second is held, the third has a tag.
    drop(store.hold(&ids[0], at(10)).unwrap());
    let hold = store.hold(&ids[1], at(1)).unwrap();
    store.tag(&ids[2], &Tag::parse("kept").unwrap(), at(1)).unwrap();

    assert_eq!(store.collect(at(20), 5 * each + 5).unwrap().images, []);
    let collected = store.collect(at(20), 4 * each + 4).unwrap();
    assert_eq!((collected.images, collected.blobs), (vec![ids[3].clone()], 3));
    assert_eq!(store.collect(at(20), 0).unwrap().images, [ids[4].clone(), ids[0].clone()]);
    drop(hold);
    assert_eq!(store.collect(at(20), 0).unwrap().images, [ids[1].clone()]);
    let left: Vec<ImageId> = store.list(at(20)).unwrap().into_iter().map(|i| i.id).collect();
    assert_eq!(left, [ids[2].clone()]);
}

#[test]
fn a_shared_layer_counts_once_and_leaving_alone_frees_little() {
    let place = Place::new();
    let base = tar("base", &[0; 50_000]);
    let small = [tar("a", b"1"), tar("b", b"2")];
    let one = place.add(&[&base, &small[0]], Ttl::Never, at(1));
    let two = place.add(&[&base, &small[1]], Ttl::Never, at(2));
    let bytes = place.store.bytes().unwrap();
    assert!((50_000..60_000).contains(&bytes), "{bytes}");
    // Without the first it is still too large, so that the second goes as well.
    assert_eq!(place.store.collect(at(3), 50_000).unwrap().images, [one, two]);
    assert_eq!(place.store.bytes().unwrap(), 0);
}
