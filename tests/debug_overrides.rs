//! Debug overrides, by which the root of an inspecting proxy overrides pins. They exist only in
//! builds with `--cfg pinhold_debug_overrides`, which test the second module:
//! `RUSTFLAGS='--cfg pinhold_debug_overrides' cargo test --test debug_overrides`.
#![cfg(feature = "hyper")]
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "tests"
)]

#[cfg(pinhold_debug_overrides)]
mod common;

#[cfg(not(pinhold_debug_overrides))]
mod absent {
    use pinhold::{Pinning, PinningBuilder};

    /// An inherent method of this name would take precedence, and its arguments would not match.
    trait Absent {
        fn debug_overrides(&self) -> &'static str;
    }

    impl Absent for PinningBuilder {
        fn debug_overrides(&self) -> &'static str {
            "no such method"
        }
    }

    #[test]
    fn a_build_without_the_cfg_has_no_overrides() {
        assert_eq!(Pinning::builder().debug_overrides(), "no such method");
        let pinning = Pinning::builder().build().unwrap();
        assert!(!format!("{pinning:?}").contains("overrides"));
    }
}

#[cfg(pinhold_debug_overrides)]
mod present {
    use std::env;
    use std::process::Command;
    use std::sync::Arc;

    use pinhold::header::{IgnoreReason, Noted};
    use pinhold::policy::AfterExpiry;
    use pinhold::roots::AnchorOrigin;
    use pinhold::{
        Decision, PinPolicy, PinViolation, Pinning, PinningVerifier, TrustAnchors, UserAddedRoots,
        VerifiedConnection,
    };
    use rustls::{CertificateError, Error, HandshakeKind};

    use crate::common::pki::Ca;
    use crate::common::tls::handshake;
    use crate::common::tls_setup::{
        TlsSetup, builder, certificate_error, noted, pinning_with, tls_setups, violation,
    };
    use crate::common::validated::built_in_anchors;
    use crate::common::{NOW, at, header_value, policy_with, unrelated_pin};

    /// A [`Pinning`] with this policy for `example.com` and the proxy's root as debug override.
    fn overridden(policy: PinPolicy, proxy: &Ca) -> Pinning {
        let builder = builder().static_pins("example.com", policy.include_subdomains());
        let builder = builder.debug_overrides([proxy.certificate()]).unwrap();
        builder.build().unwrap()
    }

    #[tokio::test]
    async fn a_proxy_can_intercept_pinned_hosts_only_by_an_override() {
        for setup in tls_setups() {
            let (genuine, proxy) = (Ca::root("Genuine"), Ca::root("mitmproxy"));
            let leaf = proxy.leaf(&["example.com"]);
            let value = header_value(leaf.pin(), "max-age=100");
            let server = setup.serve(&leaf, &[("public-key-pins", &value)]).await;
            let anchors = built_in_anchors(&[&genuine]);
            let policy = policy_with(unrelated_pin());
            let enforcing = policy.clone().user_added_roots(UserAddedRoots::EnforcePins);
            let expired = policy.clone().expires(at(NOW - 1), AfterExpiry::Refuse);
            for policy in [policy, enforcing, expired] {
                let refused = setup
                    .visit(&pinning_with(policy.clone()), &anchors, &server)
                    .await;
                assert_eq!(certificate_error(refused), CertificateError::UnknownIssuer);

                let pinning = overridden(policy, &proxy);
                let response = setup.visit(&pinning, &anchors, &server).await.unwrap();
                let connection = response.extensions().get::<VerifiedConnection>().unwrap();
                assert_eq!(connection.anchor_origin(), AnchorOrigin::DebugOverride);
                assert!(matches!(connection.decision(), Decision::Skipped));
                let ignored = IgnoreReason::AnchorNotBuiltIn(AnchorOrigin::DebugOverride);
                assert_eq!(*noted(&response), Noted::Ignored(ignored));
            }
        }
    }

    #[tokio::test]
    async fn an_override_does_not_affect_other_chains() {
        for setup in tls_setups() {
            let (genuine, proxy) = (Ca::root("Genuine"), Ca::root("mitmproxy"));
            let anchors = built_in_anchors(&[&genuine]);
            let leaf = genuine
                .leaf(&["example.com"])
                .with_appended([proxy.certificate()]);
            let server = setup.serve(&leaf, &[]).await;
            let refused = overridden(policy_with(unrelated_pin()), &proxy);
            let refused = violation(setup.visit(&refused, &anchors, &server).await).unwrap();
            assert_eq!(refused.chain().anchor_origin(), AnchorOrigin::BuiltIn);
            // The override does not disable the check of the name.
            let server = setup.serve(&proxy.leaf(&["other.example"]), &[]).await;
            let pinning = overridden(policy_with(unrelated_pin()), &proxy);
            let error = certificate_error(setup.visit(&pinning, &anchors, &server).await);
            assert!(matches!(
                error,
                CertificateError::NotValidForNameContext { .. }
            ));
        }
    }

    /// Runs two handshakes with a server of the proxy, which the pins do not match.
    fn two_handshakes(
        setup: &TlsSetup,
        proxy: &Ca,
        anchors: TrustAnchors,
    ) -> [Result<HandshakeKind, Error>; 2] {
        let pinning = overridden(policy_with(unrelated_pin()), proxy);
        let config = PinningVerifier::builder(pinning)
            .with_anchors(anchors)
            .with_provider(setup.provider.clone())
            .with_protocol_versions(setup.versions);
        let client = Arc::new(config.client_config().unwrap());
        let server = Arc::new(setup.config(&proxy.leaf(&["example.com"])));
        [0, 1].map(|_| handshake(&client, &server, "example.com"))
    }

    #[test]
    fn overridden_sessions_are_resumed_and_built_in_roots_are_not_overridden() {
        for setup in tls_setups() {
            let (genuine, proxy) = (Ca::root("Genuine"), Ca::root("mitmproxy"));
            let kinds = two_handshakes(&setup, &proxy, built_in_anchors(&[&genuine]));
            assert_eq!(kinds, [Ok(HandshakeKind::Full), Ok(HandshakeKind::Resumed)]);
            for refused in two_handshakes(&setup, &proxy, built_in_anchors(&[&proxy])) {
                let violation = PinViolation::find(&refused.unwrap_err()).unwrap();
                assert_eq!(violation.chain().anchor_origin(), AnchorOrigin::BuiltIn);
            }
        }
    }

    #[test]
    fn an_override_prints_a_warning() {
        const OWN_PROCESS: &str = "PINHOLD_TEST_OWN_PROCESS";
        let proxy = Ca::root("mitmproxy");
        if env::var_os(OWN_PROCESS).is_some() {
            let pinning = overridden(policy_with(unrelated_pin()), &proxy);
            assert!(format!("{pinning:?}").contains("debug_overrides: 1"));
            return;
        }
        let output = Command::new(env::current_exe().unwrap())
            .args(["--exact", "present::an_override_prints_a_warning"])
            .env(OWN_PROCESS, "1")
            .output()
            .unwrap();
        assert!(output.status.success());
        let warning = String::from_utf8(output.stderr).unwrap();
        assert!(
            warning.contains("pinhold_debug_overrides") && warning.contains("sha256/"),
            "{warning}"
        );
    }
}
