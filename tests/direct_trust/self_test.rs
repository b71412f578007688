//! The self-test with configurations that trust servers directly.

use pinhold::tls::{SelfTestError, TestedResumption};
use rustls::ProtocolVersion;
use rustls::client::Resumption;

use super::world::{HOST, own_certificate, pinning, tls13_setups};
use crate::common::tls_setup::tls_setups;

#[test]
fn a_configuration_that_trusts_a_certificate_passes() {
    for setup in tls_setups() {
        let pinning = pinning();
        let config = setup.own(&pinning, &[&own_certificate()]).client_config();
        let report = pinning.self_test(&config.unwrap()).unwrap();
        assert_eq!(report.versions, [setup.versions[0].version]);
        assert_eq!(report.resumption, TestedResumption::Checked);
        let trust = setup.own(&pinning, &[&own_certificate()]);
        let config = trust.disable_resumption().client_config();
        let report = pinning.self_test(&config.unwrap()).unwrap();
        assert_eq!(report.resumption, TestedResumption::Disabled);
    }
}

#[test]
fn a_configuration_that_trusts_raw_keys_passes() {
    for setup in tls13_setups() {
        let pinning = pinning();
        let trust = setup.raw(&pinning, &[(HOST, own_certificate().pin())]);
        let config = trust.client_config().unwrap();
        let report = pinning.self_test(&config).unwrap();
        assert_eq!(report.versions, [ProtocolVersion::TLSv1_3]);
        assert_eq!(report.resumption, TestedResumption::Checked);
        // Counter-cases: an altered configuration, and other pins.
        let mut altered = config.clone();
        altered.resumption = Resumption::in_memory_sessions(8);
        let error = pinning.self_test(&altered).unwrap_err();
        assert!(matches!(error, SelfTestError::OtherSessionStore));
        let other = super::world::pinning();
        assert!(other.self_test(&config).is_err());
    }
}
