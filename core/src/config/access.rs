//! Who may connect from where: origins of pages, and proxies that speak for their clients.

use super::network::{Network, Origin, Origins};
use super::reader::Section;

/// `[proxies]`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proxies {
    /// Empty: forwarding headers of anyone are a claim, not a fact.
    pub trusted: Vec<Network>,
    /// false: a node that expects the header refuses those who come without. Versions 1 and 2, from
    /// `trusted` only.
    pub proxy_protocol: bool,
}

impl Proxies {
    /// Whether what comes from this address may say who its client is.
    pub fn trusts(&self, address: std::net::IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(address))
    }

    pub(super) fn read(section: &mut Section<'_, '_>) -> Self {
        let proxies = Self {
            trusted: section.list("trusted", str::parse::<Network>),
            proxy_protocol: section.flag("proxy_protocol", false),
        };
        if proxies.proxy_protocol && !section.has("trusted") {
            section.fault("trusted", "missing: `proxy_protocol` needs the proxies' addresses");
        }
        proxies
    }
}

/// A list of origins, or `*` for any.
pub(super) fn origins(section: &mut Section<'_, '_>, key: &'static str) -> Origins {
    Origins::from_list(section.list(key, |text| match text {
        "*" => Ok(None),
        text => text.parse::<Origin>().map(Some),
    }))
}
