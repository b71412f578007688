//! [`PlainHttp`], whether `http://` is allowed to pinned hosts.

/// Whether `http://` is allowed to a host whose pins are enforced, where they can't be checked.
///
/// ```
/// use pinhold::policy::PlainHttp;
///
/// assert_eq!(PlainHttp::default(), PlainHttp::Refuse);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PlainHttp {
    /// The connection is made, without any protection.
    Allow,
    /// The connection is refused: by a connector with `ConnectError::PlainHttp`.
    #[default]
    Refuse,
}
