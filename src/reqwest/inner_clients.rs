//! The clients of reqwest inside a `NotingClient`, and their replacement when pins change:
//! [`CurrentClients`].

use std::sync::Arc;
use std::time::Duration;

use ::reqwest::redirect::Policy;
use ::reqwest::{Client, ClientBuilder, Url};
use parking_lot::{Mutex, RwLock};
use rustls::client::Resumption;
use rustls_pki_types::{ServerName, UnixTime};

use crate::pinning::Pinning;
use crate::policy::uri::without_brackets;
use crate::policy::{Host, HostError, PlainHttp};
use crate::reqwest::connection_map::{ConnectionMap, Unverified};
use crate::reqwest::error::{ClientBuildError, RequestError};
use crate::reqwest::known_chains::KnownChains;
use crate::reqwest::redirect::{RedirectError, Redirects};
use crate::reqwest::settings::reject_unsupported;
use crate::tls::ObservedConfig;

/// The clients that new requests use. They are replaced once current pins refuse a chain that they
/// connected with, since reqwest would go on using its connections.
pub(crate) struct CurrentClients {
    factory: ClientFactory,
    current: RwLock<Arc<InnerClients>>,
    building: Mutex<()>,
}

impl CurrentClients {
    pub(crate) fn new(factory: ClientFactory) -> Result<Self, ClientBuildError> {
        let first = factory.build()?;
        Ok(Self {
            factory,
            current: RwLock::new(Arc::new(first)),
            building: Mutex::new(()),
        })
    }

    /// Returns clients whose open connections all satisfy the current pins. Call it at the
    /// beginning of each request.
    ///
    /// # Errors
    ///
    /// The clients have to be replaced and can't be built again.
    pub(crate) fn get(&self) -> Result<Arc<InnerClients>, ClientBuildError> {
        let known = self.get_unchecked();
        if known.chains.all_pass(&self.factory.pinning) {
            return Ok(known);
        }
        // Concurrent requests wait for the one that builds. Building runs the application's
        // `configure`, which must not use this client.
        let _building = self.building.lock();
        let current = self.get_unchecked();
        if !Arc::ptr_eq(&current, &known) {
            return Ok(current);
        }
        let new = Arc::new(self.factory.build()?);
        event!(
            DEBUG,
            "clients of reqwest replaced: the current pins refuse a chain of theirs"
        );
        let replaced = std::mem::replace(&mut *self.current.write(), Arc::clone(&new));
        drop(replaced);
        Ok(new)
    }

    /// Returns the clients as they are.
    pub(crate) fn get_unchecked(&self) -> Arc<InnerClients> {
        Arc::clone(&self.current.read())
    }
}

/// One client of reqwest for each scheme.
pub(crate) struct InnerClients {
    /// Refuses every connection that the pinning verifier did not check.
    pub(crate) https: InnerClient,
    /// `None` unless plain HTTP is allowed.
    pub(crate) http: Option<InnerClient>,
    /// The chains that both connected with.
    chains: Arc<KnownChains>,
}

/// A client of reqwest, and its connections.
pub(crate) struct InnerClient {
    pub(crate) reqwest: Client,
    pub(crate) connections: ConnectionMap,
}

/// A change of reqwest's own settings.
pub(crate) type Change = Box<dyn Fn(ClientBuilder) -> ClientBuilder + Send + Sync>;

/// Builds the same clients any number of times.
pub(crate) struct ClientFactory {
    pub(crate) pinning: Pinning,
    pub(crate) config: ObservedConfig,
    pub(crate) changes: Vec<Change>,
    pub(crate) redirects: Redirects,
    pub(crate) allows_http: bool,
}

impl ClientFactory {
    fn build(&self) -> Result<InnerClients, ClientBuildError> {
        let chains = Arc::<KnownChains>::default();
        let build = |unverified| self.build_one(unverified, &chains);
        // Two clients, since a connection without TLS looks like one whose TLS was not verified.
        let http = self.allows_http.then(|| build(Unverified::Allow));
        Ok(InnerClients {
            https: build(Unverified::Refuse)?,
            http: http.transpose()?,
            chains,
        })
    }

    fn build_one(
        &self,
        unverified: Unverified,
        chains: &Arc<KnownChains>,
    ) -> Result<InnerClient, ClientBuildError> {
        let builder = Client::builder().redirect(redirect_policy(self.pinning.clone()));
        let changes = self.changes.iter();
        let builder = changes.fold(builder, |builder, change| change(builder));
        reject_unsupported(&builder, self.redirects)?;
        let ObservedConfig {
            mut config,
            sessions,
        } = self.config.clone();
        let https_only = unverified == Unverified::Refuse;
        if !https_only {
            // The two clients share no sessions.
            config.resumption = Resumption::disabled();
        }
        let connections = ConnectionMap::new(self.pinning.clone(), unverified, sessions)
            .with_known_chains(Arc::clone(chains));
        let mut builder = connections.install(builder.https_only(https_only), config);
        if let Redirects::Noted(_) = self.redirects {
            builder = builder.redirect(Policy::none());
        }
        Ok(InnerClient {
            reqwest: builder.build()?,
            connections,
        })
    }
}

/// The default policy for redirects that reqwest follows: refuses plain HTTP after HTTPS and to
/// known pinned hosts, and unpinned hosts if the application refuses these; otherwise it is reqwest's
/// own.
fn redirect_policy(pinning: Pinning) -> Policy {
    Policy::custom(move |attempt| {
        let url = attempt.url().clone();
        let was_secure = attempt
            .previous()
            .last()
            .is_some_and(|from| from.scheme() == "https");
        if was_secure && url.scheme() == "http" {
            return attempt.error(RedirectError::Insecure { url });
        }
        match ensure_allowed(&pinning, &url) {
            Err(error) => attempt.error(error),
            Ok(()) => Policy::default().redirect(attempt),
        }
    })
}

fn server_name(url: &Url) -> Result<ServerName<'_>, RequestError> {
    let name = url.host_str().unwrap_or_default();
    let bare = without_brackets(name).map_err(RequestError::Host)?;
    ServerName::try_from(bare).map_err(|_| {
        RequestError::Host(HostError::Invalid {
            name: name.to_owned(),
        })
    })
}

/// Emits the event of an unpinned host to which a request without TLS is sent. The connections of
/// reqwest do not show the names that they are made for.
pub(crate) fn report_unpinned(pinning: &Pinning, url: &Url) {
    if let (Ok(name), Some(now)) = (server_name(url), pinning.clock().current_time()) {
        pinning.report_unpinned(&name, now);
    }
}

/// Refuses a URL that must not be requested: plain HTTP to a host whose pins are enforced, because
/// it would bypass them, and unpinned hosts if the application refuses these.
pub(crate) fn ensure_allowed(pinning: &Pinning, url: &Url) -> Result<(), RequestError> {
    let is_plain = url.scheme() == "http";
    if !is_plain && !pinning.refuses_unpinned_hosts() {
        return Ok(());
    }
    let now = pinning.clock().current_time();
    if pinning.refuses_unpinned_hosts() {
        let name = server_name(url)?;
        // Without the time it is not known which pins are in effect.
        let now = now.unwrap_or(UnixTime::since_unix_epoch(Duration::MAX));
        if let Some(unpinned) = pinning.refused_as_unpinned(&name, now) {
            return Err(RequestError::Unpinned(unpinned));
        }
    }
    // An IP address has no pins. A host that is not a valid name is refused: some resolvers accept
    // such names below a pinned host, whose cookies would be sent there.
    let Some(domain) = url.domain().filter(|_| is_plain) else {
        return Ok(());
    };
    let host = Host::parse(domain).map_err(RequestError::Host)?;
    let is_refused = |now| {
        let (is_refused, _) = pinning.refuses_plain_http(&host, PlainHttp::Refuse, now);
        is_refused
    };
    // Without the time it is not known which pins have expired.
    if now.is_none_or(is_refused) {
        Err(RequestError::PlainHttp { host })
    } else {
        Ok(())
    }
}
