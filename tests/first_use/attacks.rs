//! The attacks that remembered keys stop, and those that they don't.

use pinhold::first_use::{KeyChange, KeyChoice};
use pinhold::{TrustAnchors, UserAddedRoots};

use crate::common::pki::Ca;
use crate::common::tls_setup::certificate_error;
use crate::common::validated::built_in_anchors;
use crate::{Fixture, change, first_use, leaf_of};

#[tokio::test]
async fn a_certificate_of_the_same_ca_is_stopped_by_the_leaf_only() {
    let chain = Fixture::new(first_use());
    chain.activate(&leaf_of(&chain.own)).await;
    chain.visit(&leaf_of(&chain.own)).await.unwrap();
    let leaf = Fixture::new(first_use().keys(KeyChoice::Leaf));
    leaf.activate(&leaf_of(&leaf.own)).await;
    change(leaf.visit(&leaf_of(&leaf.own)).await);
}

#[tokio::test]
async fn an_intercepted_first_connection_is_remembered() {
    let fixture = Fixture::new(first_use());
    fixture.activate(&leaf_of(&fixture.other)).await;
    change(fixture.visit(&leaf_of(&fixture.own)).await);
}

#[tokio::test]
async fn a_remembered_key_is_no_anchor() {
    let mut fixture = Fixture::new(first_use());
    let leaf = leaf_of(&fixture.own);
    fixture.activate(&leaf).await;
    fixture.anchors = built_in_anchors(&[&fixture.other]);
    let visit = fixture.visit(&leaf).await;
    assert!(KeyChange::find(visit.as_ref().unwrap_err()).is_none());
    certificate_error(visit);
}

#[tokio::test]
async fn keys_of_user_added_roots_are_not_remembered() {
    let user = Ca::root("User");
    let mut fixture = Fixture::new(first_use());
    let anchors = TrustAnchors::new().with_user_added([user.certificate()]);
    let built_in = std::mem::replace(&mut fixture.anchors, anchors.unwrap());
    fixture.visit(&leaf_of(&user)).await.unwrap();
    assert!(fixture.store.first_use_hosts().is_empty());
    let added = std::mem::replace(&mut fixture.anchors, built_in);
    fixture.activate(&leaf_of(&fixture.own)).await;
    fixture.anchors = added;
    // The default choice of `UserAddedRoots`.
    assert_eq!(UserAddedRoots::default(), UserAddedRoots::SkipPins);
    fixture.visit(&leaf_of(&user)).await.unwrap();
}
