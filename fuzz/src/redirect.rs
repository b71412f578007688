//! Redirects, compared with a model of the rules.

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, REFERER};
use reqwest::{Method, Request, StatusCode, Url};

use crate::input::Input;

#[allow(dead_code, unreachable_pub, reason = "the library uses the rest")]
#[path = "../../src/reqwest/redirect.rs"]
mod library;

use library::{CREDENTIALS, RedirectError, RedirectState, Referer};

/// The first byte of the input selects the method, the second the rest of the request. The lines
/// that follow are the URL of the first request, and for each response a byte for its status and
/// the `Location`.
///
/// # Panics
///
/// If a redirect is followed that must not be, or to another URL; or if the next request has
/// another method than it should, a body or credentials that it should not have, or a `Referer`
/// with credentials.
pub fn target(data: &[u8]) {
    let mut input = Input::new(data);
    let methods = [
        Method::GET,
        Method::POST,
        Method::PUT,
        Method::HEAD,
        Method::DELETE,
    ];
    let method = methods[usize::from(input.byte()) % methods.len()].clone();
    let choices = input.byte();
    let url = str::from_utf8(input.line()).unwrap_or_default();
    let Ok(url) = Url::parse(url) else {
        return;
    };
    if !matches!(url.scheme(), "https" | "http") {
        return;
    }
    let request = request(method, url, choices & 1 != 0);
    let referer = if choices & 2 == 0 {
        Referer::Send
    } else {
        Referer::Omit
    };
    let mut state = RedirectState::new(&request, referer);
    let mut model = Model {
        url: request.url().clone(),
        method: request.method().clone(),
        has_body: choices & 1 != 0,
        has_credentials: true,
        hops: 0,
    };
    while !input.is_empty() {
        let status = STATUSES[usize::from(input.byte()) % STATUSES.len()];
        let status = StatusCode::from_u16(status).expect("a valid status");
        let location = input.line();
        let mut headers = HeaderMap::new();
        if let Ok(value) = HeaderValue::from_bytes(location) {
            headers.insert(LOCATION, value);
        }
        let expected = model.follow(status, &headers);
        match (state.next(status, &headers, |_| ()), expected) {
            (Ok(Some(next)), Ok(true)) => model.check(&next, referer),
            (Ok(None), Ok(false)) => return,
            (Err(error), Err(expected)) => {
                assert_eq!(error, expected);
                return;
            }
            (found, expected) => panic!("{found:?}, expected {expected:?}"),
        }
    }
}

fn request(method: Method, url: Url, has_body: bool) -> Request {
    let mut request = Request::new(method, url);
    if has_body {
        *request.body_mut() = Some("body".into());
        let text = HeaderValue::from_static("text/plain");
        request.headers_mut().insert(CONTENT_TYPE, text);
    }
    for name in CREDENTIALS {
        let secret = HeaderValue::from_static("secret");
        request.headers_mut().insert(name, secret);
    }
    request
}

/// What the next request should be like.
struct Model {
    url: Url,
    method: Method,
    has_body: bool,
    has_credentials: bool,
    hops: usize,
}

impl Model {
    /// Returns whether the redirect is followed.
    fn follow(&mut self, status: StatusCode, headers: &HeaderMap) -> Result<bool, RedirectError> {
        if ![301, 302, 303, 307, 308].contains(&status.as_u16()) {
            return Ok(false);
        }
        let location = headers.get(LOCATION).map(HeaderValue::as_bytes);
        let location = location.and_then(|location| str::from_utf8(location).ok());
        let Some(url) = location.and_then(|location| self.url.join(location).ok()) else {
            return Ok(false);
        };
        if self.hops == 10 {
            return Err(RedirectError::TooMany { url });
        }
        match (self.url.scheme(), url.scheme()) {
            ("https", "https") | ("http", "http" | "https") => {}
            ("https", "http") => return Err(RedirectError::Insecure { url }),
            _ => return Err(RedirectError::Scheme { url }),
        }
        let becomes_get = match status.as_u16() {
            301 | 302 => self.method == Method::POST,
            303 => self.method != Method::HEAD,
            _ => false,
        };
        if becomes_get {
            self.method = Method::GET;
        }
        self.has_body &= !(becomes_get || status == StatusCode::SEE_OTHER);
        self.has_credentials &= self.url.origin() == url.origin();
        self.hops += 1;
        self.url = url;
        Ok(true)
    }

    fn check(&self, next: &Request, referer: Referer) {
        assert_eq!(*next.url(), self.url);
        assert_eq!(*next.method(), self.method);
        assert_eq!(next.body().is_some(), self.has_body);
        assert_eq!(next.headers().contains_key(CONTENT_TYPE), self.has_body);
        for name in CREDENTIALS {
            let has = next.headers().contains_key(&name);
            assert_eq!(has, self.has_credentials, "{name}");
        }
        let value = next.headers().get(REFERER);
        assert_eq!(value.is_some(), referer == Referer::Send);
        let Some(value) = value else {
            return;
        };
        let value = value.to_str().expect("a URL is ASCII");
        let value = Url::parse(value).expect("a Referer is a URL");
        assert_eq!((value.username(), value.password()), ("", None));
        assert_eq!(value.fragment(), None);
    }
}

const STATUSES: [u16; 8] = [302, 301, 303, 307, 308, 200, 300, 304];
