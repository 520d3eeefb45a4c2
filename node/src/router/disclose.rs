//! Who learns who calls and publishes.

/// Whether a realm tells callees and subscribers who called or published (setting `disclose`).
///
/// Spec: WAMP advanced profile, "Caller Identification", "Publisher Identification".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disclose {
    /// Where the caller or publisher asks for it.
    #[default]
    Allow,
    /// Never; who asks for it is refused.
    Deny,
    /// Always.
    Always,
}
