//! Changes of keys with the clients of reqwest.

use pinhold::first_use::KeyChange;

use crate::common::server::Names;
use crate::{Fixture, first_use, leaf_of};

#[tokio::test]
async fn a_change_is_refused_and_found_in_the_error() {
    let fixture = Fixture::new(first_use());
    fixture.activate(&leaf_of(&fixture.own)).await;
    let leaf = leaf_of(&fixture.other);
    let server = fixture.setup.serve(&leaf, &[]).await;
    let names = Names::new([("example.com", &server)]);
    let client = fixture
        .setup
        .reqwest(&fixture.pinning, &fixture.anchors, &names);
    let client = client.build().unwrap();
    let error = client.get("https://example.com/").send().await.unwrap_err();
    assert!(KeyChange::find(&error).is_some(), "{error:?}");
    let noting = fixture
        .setup
        .noting(&fixture.pinning, &fixture.anchors, &names);
    let noting = noting.build().unwrap();
    let uri = "https://example.com/".parse().unwrap();
    let request = reqwest::Request::new(reqwest::Method::GET, uri);
    let error = noting.execute(request).await.unwrap_err();
    assert!(KeyChange::find(&error).is_some(), "{error:?}");
    assert_eq!(server.requests(), 0);
}
