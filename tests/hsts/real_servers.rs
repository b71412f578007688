//! HSTS with nginx. Skipped where nginx is not installed, unless `PINHOLD_REQUIRE_PEERS=1`.

use pinhold::hsts::HstsNoted;

use crate::clients::Fixture;
use crate::common::peers::{Peer, Tls};
use crate::common::server::{Names, Server, answer, client, get};

/// 6797-8.3-a
#[tokio::test]
async fn a_host_noted_from_nginx_receives_no_plain_request() {
    let value = "max-age=31536000; includeSubDomains; preload";
    for tls in [Tls::V1_2, Tls::V1_3] {
        let fixture = Fixture::new();
        let leaf = &fixture.leaf;
        let nginx = Peer::nginx_with_field(leaf, tls, "Strict-Transport-Security", value);
        let Some(nginx) = nginx else {
            return;
        };
        let names = Names::default();
        names.point_to("example.com", nginx.address);
        let mut client = client(&fixture.pinning, fixture.anchors.clone(), &names);
        let response = get(&mut client, "https://example.com/").await.unwrap();
        assert_eq!(response.extensions().get(), Some(&HstsNoted::Added));
        let uri = format!("http://example.com:{}/", nginx.address.port());
        let response = get(&mut client, &uri).await.unwrap();
        assert_eq!(response.extensions().get(), Some(&HstsNoted::Refreshed));
        let attacker = Server::plain(answer(&[])).await;
        names.point("www.example.com", &attacker);
        assert!(get(&mut client, "http://www.example.com/").await.is_err());
        assert_eq!(attacker.requests(), 0);
    }
}
