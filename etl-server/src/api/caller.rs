//! Where a request comes from: the address of its connection, or what a proxy that is known says of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use axum::extract::{ConnectInfo, Request};
use axum::http::HeaderMap;
use ipnet::IpNet;

/// Each proxy adds the address that it was asked from at the end of this header.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The proxies that are believed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Proxies(Vec<IpNet>);

impl Proxies {
    pub(crate) fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// The address that a request comes from.
    pub(super) fn caller(&self, request: &Request) -> IpAddr {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>();
        let peer = peer.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |peer| peer.0.ip());
        self.behind(peer.to_canonical(), request.headers())
    }

    /// From the end of the header, which the nearest proxy wrote, back to the first address that is no proxy: what stands before
    /// it anybody may have written.
    fn behind(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut said = headers
            .get_all(FORWARDED_FOR)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim)
            .rev();
        let mut caller = peer;
        while self.0.iter().any(|network| network.contains(&caller)) {
            let Some(before) = said.next().and_then(|text| text.parse::<IpAddr>().ok()) else {
                break;
            };
            caller = before.to_canonical();
        }
        caller
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_proxies_that_are_known_are_believed_and_only_what_they_wrote() {
        let proxies = Proxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        for (peer, said, caller) in [
            ("192.0.2.1", &["203.0.113.9"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["203.0.113.9"], "203.0.113.9"),
            ("::ffff:10.0.0.1", &["::ffff:203.0.113.9"], "203.0.113.9"),
            (
                "10.0.0.1",
                &["1.1.1.1, 203.0.113.9, 10.2.2.2"],
                "203.0.113.9",
            ),
            (
                "10.0.0.1",
                &["1.1.1.1", "203.0.113.9", "10.2.2.2"],
                "203.0.113.9",
            ),
            ("10.0.0.1", &["1.1.1.1, nobody"], "10.0.0.1"),
            ("10.0.0.1", &["10.3.3.3"], "10.3.3.3"),
            ("10.0.0.1", &[""], "10.0.0.1"),
        ] {
            let mut headers = HeaderMap::new();
            for said in said {
                headers.append(FORWARDED_FOR, HeaderValue::from_static(said));
            }
            let peer: IpAddr = peer.parse().unwrap();
            let found = proxies.behind(peer.to_canonical(), &headers);
            assert_eq!(found.to_string(), caller, "{peer} {said:?}");
        }
    }
}
