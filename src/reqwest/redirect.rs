//! Redirects by the rules of reqwest, followed one by one so that every response can be examined:
//! [`RedirectState`].

use std::error::Error;
use std::fmt;
use std::time::Instant;

use ::reqwest::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HeaderMap, HeaderName,
    LOCATION, PROXY_AUTHORIZATION, REFERER, TRANSFER_ENCODING, WWW_AUTHENTICATE,
};
use ::reqwest::{Method, Request, StatusCode, Url};

/// The reason why [`NotingClient`](crate::reqwest::NotingClient) did not follow a redirect.
///
/// ```
/// use pinhold::reqwest::RedirectError;
///
/// let url = "http://example.com/".parse()?;
/// let error = RedirectError::Insecure { url };
/// assert_eq!(
///     error.to_string(),
///     "redirect from https to http://example.com/, expected https"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RedirectError {
    /// A redirect from `https://` to `http://`.
    Insecure {
        /// The target.
        url: Url,
    },
    /// A redirect to neither `https://` nor `http://`.
    Scheme {
        /// The target.
        url: Url,
    },
    /// More than 10 redirects in a row.
    TooMany {
        /// The target of the last one.
        url: Url,
    },
}

impl fmt::Display for RedirectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Insecure { url } => write!(f, "redirect from https to {url}, expected https"),
            Self::Scheme { url } => write!(f, "redirect to {url}, expected https"),
            Self::TooMany { url } => {
                write!(
                    f,
                    "redirect to {url}, expected at most {MAX_HOPS} redirects in a row"
                )
            }
        }
    }
}

impl Error for RedirectError {}

/// What follows redirects.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Redirects {
    ByReqwest,
    /// `NotingClient`, which notes pins on every hop.
    Noted(Referer),
}

/// Whether a redirected request has a `Referer` header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Referer {
    Omit,
    #[default]
    Send,
}

/// The redirects of one request so far, and what the next request takes from the last one.
#[derive(Debug)]
pub(crate) struct RedirectState {
    /// The request that was sent last; without its body if that can't be sent again.
    sent: Request,
    body: Body,
    referer: Referer,
    hops: usize,
    /// The end of the request's own timeout, which covers all hops together.
    deadline: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
enum Body {
    /// No body, or bytes in memory.
    Repeatable,
    /// A stream, which can be sent only once.
    Streamed,
}

impl RedirectState {
    /// Returns the state before the first request, which is about to be sent.
    pub(crate) fn new(request: &Request, referer: Referer) -> Self {
        let (sent, body) = match request.try_clone() {
            Some(copy) => (copy, Body::Repeatable),
            None => (without_body(request), Body::Streamed),
        };
        let timeout = request.timeout().copied();
        Self {
            sent,
            body,
            referer,
            hops: 0,
            deadline: timeout.and_then(|timeout| Instant::now().checked_add(timeout)),
        }
    }

    /// Returns the request to send next, with the URL that `upgrade` leaves. Returns `None` if the
    /// response is final: it is not a redirect, has no valid `Location`, or requires a body to be sent
    /// again that was a stream.
    ///
    /// # Errors
    ///
    /// A redirect that must not be followed.
    pub(crate) fn next(
        &mut self,
        status: StatusCode,
        headers: &HeaderMap,
        upgrade: impl Fn(&mut Url),
    ) -> Result<Option<Request>, RedirectError> {
        let becomes_get = match status {
            StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND => {
                *self.sent.method() == Method::POST
            }
            StatusCode::SEE_OTHER => true,
            StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => false,
            _ => return Ok(None),
        };
        let from = self.sent.url();
        let location = headers.get(LOCATION);
        let location = location.and_then(|value| str::from_utf8(value.as_bytes()).ok());
        let Some(mut to) = location.and_then(|location| from.join(location).ok()) else {
            return Ok(None);
        };
        upgrade(&mut to);
        if becomes_get {
            self.drop_body();
        }
        if matches!(self.body, Body::Streamed) {
            return Ok(None);
        }
        let Some(next) = self.sent.try_clone() else {
            return Ok(None);
        };
        self.follow(next, to).map(Some)
    }

    fn drop_body(&mut self) {
        if *self.sent.method() != Method::HEAD {
            *self.sent.method_mut() = Method::GET;
        }
        *self.sent.body_mut() = None;
        self.body = Body::Repeatable;
        for name in [
            CONTENT_ENCODING,
            CONTENT_LENGTH,
            CONTENT_TYPE,
            TRANSFER_ENCODING,
        ] {
            self.sent.headers_mut().remove(name);
        }
    }

    /// Returns `next`, a copy of the last request, with `to` as its URL.
    fn follow(&mut self, mut next: Request, to: Url) -> Result<Request, RedirectError> {
        let from = next.url().clone();
        match (from.scheme(), to.scheme()) {
            _ if self.hops == MAX_HOPS => return Err(RedirectError::TooMany { url: to }),
            ("https", "http") => return Err(RedirectError::Insecure { url: to }),
            (_, "https" | "http") => {}
            _ => return Err(RedirectError::Scheme { url: to }),
        }
        self.hops += 1;
        if !is_same_origin(&from, &to) {
            for name in CREDENTIALS {
                next.headers_mut().remove(name);
            }
        }
        let referer = match self.referer {
            Referer::Omit => None,
            Referer::Send => without_credentials(from).as_str().parse().ok(),
        };
        if let Some(referer) = referer {
            next.headers_mut().insert(REFERER, referer);
        }
        if let Some(deadline) = self.deadline {
            *next.timeout_mut() = Some(deadline.saturating_duration_since(Instant::now()));
        }
        *next.url_mut() = to;
        // Headers that were removed are not added again on further hops.
        if let Some(copy) = next.try_clone() {
            self.sent = copy;
        }
        Ok(next)
    }
}

fn without_body(request: &Request) -> Request {
    let mut copy = Request::new(request.method().clone(), request.url().clone());
    *copy.headers_mut() = request.headers().clone();
    *copy.version_mut() = request.version();
    *copy.timeout_mut() = request.timeout().copied();
    copy
}

fn is_same_origin(one: &Url, other: &Url) -> bool {
    one.scheme() == other.scheme()
        && one.host_str() == other.host_str()
        && one.port_or_known_default() == other.port_or_known_default()
}

/// Returns the URL without user name, password and fragment, as a `Referer` may contain it.
fn without_credentials(mut url: Url) -> Url {
    // Fails only for a URL without a host, which has no credentials either.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_fragment(None);
    url
}

/// Headers with credentials, which are removed when a redirect leads to another origin. reqwest
/// removes the same ones.
pub(crate) const CREDENTIALS: [HeaderName; 5] = [
    AUTHORIZATION,
    COOKIE,
    HeaderName::from_static("cookie2"),
    PROXY_AUTHORIZATION,
    WWW_AUTHENTICATE,
];

/// The default of reqwest.
const MAX_HOPS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn request(method: Method, url: &str) -> Request {
        Request::new(method, url.parse().unwrap())
    }

    fn to(location: &str) -> HeaderMap {
        [(LOCATION, location.parse().unwrap())]
            .into_iter()
            .collect()
    }

    fn follow_once(request: &Request, status: u16, location: &str) -> Option<Request> {
        let mut redirects = RedirectState::new(request, Referer::Send);
        let status = StatusCode::from_u16(status).unwrap();
        redirects.next(status, &to(location), |_| ()).unwrap()
    }

    #[test]
    fn methods_and_bodies_change_as_in_reqwest() {
        for (method, status, expected, keeps_body) in [
            (Method::POST, 301, Method::GET, false),
            (Method::POST, 302, Method::GET, false),
            (Method::POST, 303, Method::GET, false),
            (Method::POST, 307, Method::POST, true),
            (Method::POST, 308, Method::POST, true),
            (Method::PUT, 301, Method::PUT, true),
            (Method::PUT, 302, Method::PUT, true),
            (Method::PUT, 303, Method::GET, false),
            (Method::HEAD, 303, Method::HEAD, false),
        ] {
            let mut request = request(method.clone(), "https://a.example/");
            *request.body_mut() = Some("body".into());
            let text = "text/plain".parse().unwrap();
            request.headers_mut().insert(CONTENT_TYPE, text);
            let next = follow_once(&request, status, "/b").unwrap();
            assert_eq!(*next.method(), expected, "{method} {status}");
            assert_eq!(next.body().is_some(), keeps_body, "{method} {status}");
            let has_type = next.headers().contains_key(CONTENT_TYPE);
            assert_eq!(has_type, keeps_body, "{method} {status}");
            assert_eq!(next.url().as_str(), "https://a.example/b");
        }
    }

    #[test]
    fn a_response_that_is_no_redirect_is_not_followed() {
        let request = request(Method::GET, "https://a.example/");
        for status in [200, 300, 304, 305, 404] {
            assert!(follow_once(&request, status, "/b").is_none(), "{status}");
        }
        let mut redirects = RedirectState::new(&request, Referer::Send);
        let next = redirects.next(StatusCode::FOUND, &HeaderMap::new(), |_| ());
        assert!(next.unwrap().is_none(), "without a Location");
    }

    #[test]
    fn credentials_are_not_sent_to_another_origin() {
        for (location, is_same_origin) in [
            ("/b", true),
            ("https://a.example:443/b", true),
            ("https://a.example:444/b", false),
            ("https://b.example/", false),
            ("https://www.a.example/", false),
        ] {
            let mut request = request(Method::GET, "https://a.example/");
            for name in CREDENTIALS {
                request
                    .headers_mut()
                    .insert(name, "secret".parse().unwrap());
            }
            let next = follow_once(&request, 302, location).unwrap();
            for name in CREDENTIALS {
                assert_eq!(
                    next.headers().contains_key(&name),
                    is_same_origin,
                    "{location} {name}"
                );
            }
        }
    }

    #[test]
    fn removed_credentials_are_not_added_again() {
        let mut request = request(Method::GET, "https://a.example/");
        let secret = "secret".parse().unwrap();
        request.headers_mut().insert(AUTHORIZATION, secret);
        let mut redirects = RedirectState::new(&request, Referer::Send);
        for location in ["https://b.example/", "/c", "https://a.example/"] {
            let next = redirects
                .next(StatusCode::FOUND, &to(location), |_| ())
                .unwrap();
            let next = next.unwrap();
            assert!(!next.headers().contains_key(AUTHORIZATION), "{location}");
        }
    }

    #[test]
    fn the_referer_contains_neither_credentials_nor_the_fragment() {
        let request = request(Method::GET, "https://user:password@a.example/x?y#z");
        let next = follow_once(&request, 302, "https://b.example/").unwrap();
        assert_eq!(next.headers()[REFERER], "https://a.example/x?y");
        let mut redirects = RedirectState::new(&request, Referer::Omit);
        let next = redirects.next(StatusCode::FOUND, &to("/"), |_| ()).unwrap();
        assert!(!next.unwrap().headers().contains_key(REFERER));
    }

    #[test]
    fn redirects_from_https_to_another_scheme_are_refused() {
        let request = request(Method::GET, "https://a.example/");
        for (location, insecure) in [("http://a.example/", true), ("ftp://a.example/", false)] {
            let mut redirects = RedirectState::new(&request, Referer::Send);
            let url = location.parse().unwrap();
            let expected = if insecure {
                RedirectError::Insecure { url }
            } else {
                RedirectError::Scheme { url }
            };
            let error = redirects
                .next(StatusCode::FOUND, &to(location), |_| ())
                .unwrap_err();
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn at_most_ten_redirects_are_followed() {
        let request = request(Method::GET, "https://a.example/");
        let mut redirects = RedirectState::new(&request, Referer::Send);
        for _ in 0..10 {
            let next = redirects.next(StatusCode::FOUND, &to("/"), |_| ()).unwrap();
            assert!(next.is_some());
        }
        let error = redirects
            .next(StatusCode::FOUND, &to("/"), |_| ())
            .unwrap_err();
        assert!(matches!(error, RedirectError::TooMany { .. }));
    }

    #[test]
    fn the_timeout_of_a_request_covers_all_hops() {
        let mut request = request(Method::GET, "https://a.example/");
        *request.timeout_mut() = Some(Duration::from_secs(60));
        let next = follow_once(&request, 302, "/b").unwrap();
        let left = *next.timeout().unwrap();
        assert!(left <= Duration::from_secs(60) && left > Duration::from_secs(1));
    }
}
