//! Root provenance on macOS and Windows: the certificates that users and administrators have added
//! to stores of their own, and those that came with the system.
//!
//! Being in such a store makes no certificate trusted. It only determines the origin of a root that
//! the platform trusts.

#[cfg(any(target_os = "macos", windows))]
use rustls_pki_types::CertificateDer;

/// Certificates of the platform, separated by who added them.
#[cfg(any(target_os = "macos", windows))]
#[derive(Default)]
pub(crate) struct LocalRoots {
    /// Certificates in the stores of users and administrators.
    pub(crate) local: Vec<CertificateDer<'static>>,
    /// Certificates that came with the system. A copy of one in another store does not show that a
    /// user added it.
    pub(crate) of_system: Vec<CertificateDer<'static>>,
    /// The platform's errors about what could not be read.
    pub(crate) errors: Vec<String>,
}

/// Returns the certificates with trust settings of the user or the administrator, and those with
/// trust settings of the system.
#[cfg(target_os = "macos")]
pub(crate) fn load() -> LocalRoots {
    use security_framework::base::Error;
    use security_framework::trust_settings::{Domain, TrustSettings};

    let with_settings = |domain| {
        let certificates = TrustSettings::new(domain).iter()?;
        let certificates = certificates.map(|certificate| certificate.to_der().into());
        Ok::<Vec<_>, Error>(certificates.collect())
    };
    let mut found = LocalRoots::default();
    match with_settings(Domain::System) {
        Ok(of_system) => found.of_system = of_system,
        Err(error) => found.errors.push(error.to_string()),
    }
    // Without them, Apple's roots can't be distinguished from others.
    if found.of_system.is_empty() {
        found.errors.push("the system has no trust settings".into());
        return found;
    }
    for domain in [Domain::Admin, Domain::User] {
        match with_settings(domain) {
            Ok(certificates) => found.local.extend(certificates),
            Err(error) => found.errors.push(error.to_string()),
        }
    }
    found
}

/// Returns the certificates in the stores of the user, of group policies and of the enterprise, and
/// those of Microsoft's program. Skips the machine's own store, which has Microsoft's roots, too.
#[cfg(windows)]
pub(crate) fn load() -> LocalRoots {
    use windows_registry::{CURRENT_USER, LOCAL_MACHINE};

    let program = r"SOFTWARE\Microsoft\SystemCertificates\AuthRoot";
    let (of_system, errors) = certificates_in(LOCAL_MACHINE, program);
    let mut found = LocalRoots {
        local: Vec::new(),
        of_system,
        errors,
    };
    // Without all of them, the program's roots can't be distinguished from others.
    if !found.errors.is_empty() {
        return found;
    }
    for (hive, store) in [
        (CURRENT_USER, r"Software\Microsoft\SystemCertificates\Root"),
        (
            CURRENT_USER,
            r"Software\Policies\Microsoft\SystemCertificates\Root",
        ),
        (
            LOCAL_MACHINE,
            r"SOFTWARE\Policies\Microsoft\SystemCertificates\Root",
        ),
        (
            LOCAL_MACHINE,
            r"SOFTWARE\Microsoft\EnterpriseCertificates\Root",
        ),
    ] {
        let (certificates, errors) = certificates_in(hive, store);
        found.errors.extend(errors);
        if certificates.len() > MAX_LOCAL_PER_STORE {
            found.errors.push(format!(
                "{store} has {} certificates, expected at most {MAX_LOCAL_PER_STORE}",
                certificates.len()
            ));
        } else {
            found.local.extend(certificates);
        }
    }
    found
}

/// Returns the certificates of a store in the registry, and the errors of those that could not be
/// read. Each certificate is a key whose value `Blob` contains its properties. A store may be
/// absent.
#[cfg(windows)]
fn certificates_in(
    hive: &windows_registry::Key,
    store: &str,
) -> (Vec<CertificateDer<'static>>, Vec<String>) {
    let store = format!(r"{store}\Certificates");
    let (mut found, mut errors) = (Vec::new(), Vec::new());
    let certificates = match hive.open(&store) {
        Ok(certificates) => certificates,
        Err(error) if error.code().0 == FILE_NOT_FOUND => return (found, errors),
        Err(error) => return (found, vec![format!("{store}: {error}")]),
    };
    let names = match certificates.keys() {
        Ok(names) => names,
        Err(error) => return (found, vec![format!("{store}: {error}")]),
    };
    for (index, name) in names.enumerate() {
        if index == MAX_CERTIFICATES {
            errors.push(format!(
                "{store} has more than {MAX_CERTIFICATES} certificates"
            ));
            break;
        }
        let blob = certificates
            .open(&name)
            .and_then(|key| key.get_value("Blob"));
        match blob.as_deref().map(certificate) {
            Ok(Some(der)) => found.push(CertificateDer::from(der.to_vec())),
            Ok(None) => errors.push(format!(r"{store}\{name}: not a serialised certificate")),
            Err(error) => errors.push(format!(r"{store}\{name}: {error}")),
        }
    }
    (found, errors)
}

/// Returns the certificate in a list of properties, as `CertSerializeCertificateStoreElement`
/// writes it. A property is a number, a reserved field and a length, each of 4 bytes in
/// little-endian order, followed by a value of that length.
#[cfg(any(windows, test))]
fn certificate(mut blob: &[u8]) -> Option<&[u8]> {
    loop {
        let (number, rest) = blob.split_first_chunk()?;
        let (_reserved, rest) = rest.split_first_chunk::<4>()?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (value, rest) = rest.split_at_checked(length)?;
        if u32::from_le_bytes(*number) == CERT_CERT_PROP_ID {
            return Some(value);
        }
        blob = rest;
    }
}

/// The number of the property that contains the certificate (`wincrypt.h`).
#[cfg(any(windows, test))]
const CERT_CERT_PROP_ID: u32 = 32;
/// `HRESULT_FROM_WIN32(ERROR_FILE_NOT_FOUND)`.
#[cfg(windows)]
const FILE_NOT_FOUND: i32 = -0x7ff8_fffe;
/// The limit of certificates read from one store.
#[cfg(windows)]
const MAX_CERTIFICATES: usize = 4096;
/// The limit of certificates in one store that are considered as added locally. A large company has
/// some ten roots; isolated networks distribute the hundreds of Microsoft's program by group
/// policy.
#[cfg(windows)]
const MAX_LOCAL_PER_STORE: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn property(number: u32, value: &[u8]) -> Vec<u8> {
        let length = u32::try_from(value.len()).unwrap();
        let words = [number, 1, length].map(u32::to_le_bytes);
        [&words.concat(), value].concat()
    }

    #[test]
    fn the_certificate_is_found_among_its_properties() {
        let der = property(32, b"certificate");
        assert_eq!(certificate(&der), Some(&b"certificate"[..]));
        let blob = [property(3, &[7; 20]), property(11, b""), der.clone()].concat();
        assert_eq!(certificate(&blob), Some(&b"certificate"[..]));
        for len in 0..blob.len() {
            assert_eq!(certificate(&blob[..len]), None, "{len}");
        }
        let others = [property(3, &[7; 20]), property(0x20_0000, b"x")].concat();
        assert_eq!(certificate(&others), None);
        let mut too_long = der;
        too_long[8..12].fill(0xff);
        assert_eq!(certificate(&too_long), None);
    }

    /// Uses a registry key of its own, so that the store of the current user is not changed.
    #[cfg(windows)]
    #[test]
    fn certificates_are_read_from_the_registry() {
        use windows_registry::{CURRENT_USER, Type};

        let store = format!(r"Software\pinhold-tests-{}", std::process::id());
        assert_eq!(certificates_in(CURRENT_USER, &store), (vec![], vec![]));
        for (name, blob) in [
            ("00", property(32, b"one")),
            ("01", [property(3, &[7; 20]), property(32, b"two")].concat()),
            ("02", b"damaged".to_vec()),
        ] {
            let key = CURRENT_USER.create(format!(r"{store}\Certificates\{name}"));
            key.unwrap().set_bytes("Blob", Type::Bytes, &blob).unwrap();
        }
        let (found, errors) = certificates_in(CURRENT_USER, &store);
        CURRENT_USER.remove_tree(&store).unwrap();
        assert_eq!(found, [b"one".to_vec().into(), b"two".to_vec().into()]);
        assert_eq!(errors.len(), 1, "the others are read");
    }
}
