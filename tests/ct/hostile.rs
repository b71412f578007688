//! SCT lists, OCSP responses and log lists that are malformed or huge.

use std::time::{Duration, Instant};

use pinhold::ct::{LogList, Sct, SctVerdict};

use crate::common::Random;
use crate::log::{Entry, Precertificate, Terms, TestLog, ocsp_response, sct_list};
use crate::world::{USABLE, World, json, short_lived, verdicts, violation};

/// Changes up to four bytes, and sometimes cuts the end.
fn mutate(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=random.below(4) {
        let end = u64::try_from(bytes.len()).unwrap();
        let place = usize::try_from(random.below(end)).unwrap();
        bytes[place] = u8::try_from(random.below(256)).unwrap();
        if random.below(8) == 0 {
            bytes.truncate(place + 1);
        }
    }
    bytes
}

#[test]
fn a_hundred_thousand_mutated_lists_are_read_without_a_panic() {
    let world = World::new();
    let precertificate = Precertificate::new(&world.ca, short_lived());
    let leaf = precertificate.logged(&[&world.elm, &world.ash]);
    let terms = Terms::default();
    let scts = [&world.elm, &world.ash].map(|log| log.sign(&precertificate.entry(), &terms));
    let list = sct_list(&scts);
    let (response, certificate) = (ocsp_response(&list), leaf.certificate());
    assert_eq!(Sct::of_list(&list).len(), 2);
    assert_eq!(Sct::of_ocsp_response(&response).len(), 2);
    assert_eq!(Sct::of_certificate(&certificate).len(), 2);
    let mut random = Random::new(1);
    for _ in 0..100_000 {
        let mutated = mutate(&list, &mut random);
        for sct in Sct::of_list(&mutated) {
            let _ = sct.leaf_index();
        }
        assert!(Sct::of_ocsp_response(&mutate(&response, &mut random)).len() <= 2);
        assert!(Sct::of_certificate(&mutate(&certificate, &mut random)).len() <= 2);
    }
}

#[test]
fn handshakes_with_mutated_responses_are_refused_without_a_panic() {
    let world = World::new();
    let app = world.app();
    let leaf = world.ca.leaf_from(short_lived());
    let entry = Entry::Certificate(leaf.certificate().to_vec());
    let scts = [&world.elm, &world.ash].map(|log| log.sign(&entry, &Terms::default()));
    let list = sct_list(&scts);
    let response = ocsp_response(&list);
    assert!(world.visit_stapled(&app, &leaf, response.clone()).is_ok());
    // From the list on: what is before it is not signed.
    let start = response
        .windows(list.len())
        .position(|part| part == list)
        .unwrap();
    for place in (start..start + list.len()).step_by(3) {
        let mut mutated = response.clone();
        mutated[place] ^= 0x40;
        assert!(
            world.visit_stapled(&app, &leaf, mutated).is_err(),
            "{place}"
        );
    }
}

#[test]
fn at_most_sixteen_signatures_are_verified() {
    let world = World::new();
    let app = world.app();
    let leaf = world.ca.leaf_from(short_lived());
    let other = Entry::Certificate(b"another certificate".to_vec());
    let mut scts = vec![world.elm.sign(&other, &Terms::default()); 500];
    let own = Entry::Certificate(leaf.certificate().to_vec());
    scts.extend([&world.elm, &world.ash].map(|log| log.sign(&own, &Terms::default())));
    let response = ocsp_response(&sct_list(&scts));
    let refused = violation(world.visit_stapled(&app, &leaf, response));
    let verdicts = verdicts(&refused);
    let count = |verdict| verdicts.iter().filter(|known| **known == verdict).count();
    assert_eq!(count(SctVerdict::BadSignature), 16);
    assert_eq!(verdicts.len(), 32);
}

#[test]
fn scts_of_unknown_logs_displace_none_that_counts() {
    let world = World::new();
    let app = world.app();
    let leaf = world.ca.leaf_from(short_lived());
    let own = Entry::Certificate(leaf.certificate().to_vec());
    let rogue = TestLog::new("Rogue", "Three");
    let mut scts = vec![rogue.sign(&own, &Terms::default()); 500];
    scts.extend([&world.elm, &world.ash].map(|log| log.sign(&own, &Terms::default())));
    let response = ocsp_response(&sct_list(&scts));
    assert!(world.visit_stapled(&app, &leaf, response).is_ok());
}

/// webpki refuses such a certificate before.
#[test]
fn a_certificate_with_two_lists_has_none() {
    let world = World::new();
    let mut params = short_lived();
    let precertificate = Precertificate::new(&world.ca, params.clone());
    let scts = [&world.elm, &world.ash];
    let scts = scts.map(|log| log.sign(&precertificate.entry(), &Terms::default()));
    let kind = [1, 3, 6, 1, 4, 1, 11129, 2, 4, 2];
    let octets = crate::common::pki::der(0x04, &sct_list(&scts));
    let extension = rcgen::CustomExtension::from_oid_content(&kind, octets);
    params.custom_extensions.push(extension);
    let leaf = Precertificate::new(&world.ca, params);
    let leaf = leaf.logged(&[&world.elm, &world.ash]);
    assert_eq!(Sct::of_certificate(&leaf.certificate()), []);
}

#[test]
fn mutated_log_lists_are_refused_or_read_without_a_panic() {
    let world = World::new();
    let text = json(
        crate::common::NOW,
        &[(&world.elm, USABLE), (&world.ash, USABLE)],
    );
    let mut random = Random::new(2);
    for _ in 0..5_000 {
        let mutated = mutate(text.as_bytes(), &mut random);
        if let Ok(text) = str::from_utf8(&mutated) {
            let _ = LogList::parse(text);
        }
    }
}

#[test]
fn a_huge_list_is_bounded() {
    let text = format!(
        r#"{{"log_list_timestamp": "2023-11-14T00:00:00Z", "operators": [{}{{}}]}}"#,
        r#"{"name": ""},"#.repeat(300_000)
    );
    let begin = Instant::now();
    assert!(LogList::parse(&text).is_err());
    assert!(begin.elapsed() < Duration::from_secs(30));
}
