//! AWS:Network: the interfaces of the running system, without loopback.
//! Never includes counters, which would make every report differ from the last.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;

use sysinfo::{IpNetwork, Networks};

use super::Inventory;
use crate::package_manager::file::{self, Warnings};

const COLUMNS: [&str; 8] = [
    "Name",
    "MacAddress",
    "IPV4",
    "SubnetMask",
    "IPV6",
    "Gateway",
    "DNSServer",
    "DHCPServer",
];
/// The longest of the small files read here; a host with many routes has a few kB.
const FILE_BYTES_MAX: u64 = 256 * 1024;
/// Interfaces listed; hosts of containers have hundreds.
const INTERFACES_MAX: usize = 1024;

/// A default route.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Route {
    interface: String,
    gateway: IpAddr,
    metric: u32,
}

/// Lists the interfaces; of a root that is not the running system there are none.
#[must_use]
pub fn gather(root: &Path) -> Inventory {
    let mut warnings = Warnings::default();
    if root != Path::new("/") {
        return Inventory::new("AWS:Network", 1, &COLUMNS, Vec::new(), warnings);
    }
    let routes = default_routes(root);
    let servers = name_servers(&text(root, "etc/resolv.conf")).join(",");
    let networks = networks(&mut warnings);
    if networks.len() > INTERFACES_MAX {
        let problem = format!(
            "only {INTERFACES_MAX} of {} interfaces are listed",
            networks.len()
        );
        warnings.push(Path::new("/sys/class/net"), problem);
    }
    let rows = networks.iter().take(INTERFACES_MAX).map(|interface| {
        let of_interface = routes
            .iter()
            .filter(|route| route.interface == interface.name);
        let gateways: Vec<_> = of_interface
            .map(|route| route.gateway.to_string())
            .collect();
        vec![
            interface.name.clone(),
            interface.mac.clone(),
            joined(
                interface
                    .addresses
                    .iter()
                    .filter(|address| address.addr.is_ipv4()),
            ),
            masks(&interface.addresses),
            joined(
                interface
                    .addresses
                    .iter()
                    .filter(|address| address.addr.is_ipv6()),
            ),
            gateways.join(","),
            match interface.addresses.is_empty() {
                true => String::new(),
                false => servers.clone(),
            },
            dhcp_server(root, &interface.name).unwrap_or_default(),
        ]
    });
    let rows = rows.collect();
    Inventory::new("AWS:Network", 1, &COLUMNS, rows, warnings)
}

/// The address by which others most likely reach the running system: that of the interface with the
/// best default route.
#[must_use]
pub fn primary_address(root: &Path) -> Option<String> {
    if root != Path::new("/") {
        return None;
    }
    let routes = default_routes(root);
    let best = routes.iter().min_by_key(|route| route.metric);
    let networks = networks(&mut Warnings::default());
    let reachable = best
        .and_then(|route| {
            networks
                .iter()
                .find(|network| network.name == route.interface)
        })
        .or_else(|| {
            networks
                .iter()
                .find(|network| !network.addresses.is_empty())
        })?;
    Some(reachable.addresses.first()?.addr.to_string())
}

/// An interface with its addresses, those of version 4 first.
struct Interface {
    name: String,
    mac: String,
    addresses: Vec<IpNetwork>,
}

/// The interfaces by name, without loopback.
fn networks(warnings: &mut Warnings) -> Vec<Interface> {
    let networks = match Networks::new_with_refreshed_list() {
        Ok(networks) => networks,
        Err(error) => {
            warnings.push(
                Path::new("/sys/class/net"),
                format_args!("ignored: {error}"),
            );
            return Vec::new();
        }
    };
    let mut interfaces: Vec<_> = networks
        .iter()
        .filter(|(name, _)| name.as_os_str() != "lo")
        .map(|(name, data)| {
            let mut addresses = data.ip_networks().to_vec();
            addresses.sort_by_key(|network| {
                (
                    network.addr.is_ipv6(),
                    is_link_local(network.addr),
                    network.addr,
                )
            });
            let mac = data.mac_address();
            Interface {
                name: name.to_string_lossy().into_owned(),
                mac: if mac.is_unspecified() {
                    String::new()
                } else {
                    mac.to_string()
                },
                addresses,
            }
        })
        .collect();
    interfaces.sort_by(|a, b| a.name.cmp(&b.name));
    interfaces
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn joined<'a>(addresses: impl Iterator<Item = &'a IpNetwork>) -> String {
    let texts: Vec<_> = addresses.map(|network| network.addr.to_string()).collect();
    texts.join(",")
}

/// The netmask of each address of version 4.
fn masks(addresses: &[IpNetwork]) -> String {
    let v4 = addresses.iter().filter(|network| network.addr.is_ipv4());
    let masks: Vec<_> = v4
        .map(|network| {
            let bits = 32_u32.saturating_sub(u32::from(network.prefix));
            let mask = u32::MAX.checked_shl(bits).unwrap_or(0);
            Ipv4Addr::from_bits(mask).to_string()
        })
        .collect();
    masks.join(",")
}

fn text(root: &Path, path: &str) -> String {
    let content = file::read(&root.join(path), FILE_BYTES_MAX).unwrap_or_default();
    String::from_utf8_lossy(&content).into_owned()
}

fn default_routes(root: &Path) -> Vec<Route> {
    let v4 = text(root, "proc/net/route");
    let v6 = text(root, "proc/net/ipv6_route");
    let v4 = v4.lines().filter_map(parse_route_v4);
    v4.chain(v6.lines().filter_map(parse_route_v6)).collect()
}

/// A line of `/proc/net/route`: interface, destination, gateway, flags, …, metric, mask. Addresses are
/// hexadecimal in the machine's byte order.
fn parse_route_v4(line: &str) -> Option<Route> {
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    let &[interface, destination, gateway, _, _, _, metric, mask, ..] = fields.as_slice() else {
        return None;
    };
    let address = |hex| {
        Some(Ipv4Addr::from(
            u32::from_str_radix(hex, 16).ok()?.to_ne_bytes(),
        ))
    };
    let is_default = address(destination)?.is_unspecified() && address(mask)?.is_unspecified();
    let gateway = address(gateway)?;
    (is_default && !gateway.is_unspecified()).then_some(Route {
        interface: interface.to_owned(),
        gateway: IpAddr::V4(gateway),
        metric: metric.parse().ok()?,
    })
}

/// A line of `/proc/net/ipv6_route`: destination, its prefix, source, its prefix, next hop, metric, …,
/// interface; all hexadecimal.
fn parse_route_v6(line: &str) -> Option<Route> {
    let fields: Vec<_> = line.split_ascii_whitespace().collect();
    let &[destination, prefix, _, _, gateway, metric, .., interface] = fields.as_slice() else {
        return None;
    };
    let address = |hex| Some(Ipv6Addr::from_bits(u128::from_str_radix(hex, 16).ok()?));
    let gateway = address(gateway)?;
    let is_default = address(destination)?.is_unspecified() && prefix == "00";
    (is_default && !gateway.is_unspecified()).then_some(Route {
        interface: interface.to_owned(),
        gateway: IpAddr::V6(gateway),
        metric: u32::from_str_radix(metric, 16).ok()?,
    })
}

fn name_servers(resolv_conf: &str) -> Vec<&str> {
    let line = |line: &'_ str| {
        let mut words = line.split_ascii_whitespace();
        words.next().is_some_and(|word| word == "nameserver")
    };
    let servers = resolv_conf.lines().filter(|text| line(text));
    servers
        .filter_map(|line| line.split_ascii_whitespace().nth(1))
        .collect()
}

/// Who leased the address, as systemd-networkd or dhclient recorded it.
fn dhcp_server(root: &Path, interface: &str) -> Option<String> {
    let index = file::first_line(&root.join(format!("sys/class/net/{interface}/ifindex")))?;
    let lease = text(root, &format!("run/systemd/netif/leases/{index}"));
    let of_networkd = lease
        .lines()
        .find_map(|line| line.strip_prefix("SERVER_ADDRESS="));
    if let Some(server) = of_networkd {
        return Some(server.to_owned());
    }
    let leases = text(root, &format!("var/lib/dhcp/dhclient.{interface}.leases"));
    // The newest lease is the last.
    let lines = leases.lines().rev();
    let mut servers =
        lines.filter_map(|line| line.trim().strip_prefix("option dhcp-server-identifier "));
    Some(servers.next()?.trim_end_matches(';').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn default_routes_are_read_of_both_versions() {
        let hex = |address: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(address));
        let line = format!(
            "eth0\t00000000\t{}\t0003\t0\t0\t100\t00000000\t0\t0\t0",
            hex([10, 0, 2, 1])
        );
        let route = parse_route_v4(&line).unwrap();
        assert_eq!(
            (route.gateway.to_string().as_str(), route.metric),
            ("10.0.2.1", 100)
        );
        assert_eq!(
            parse_route_v4("Iface Destination Gateway Flags RefCnt Use Metric Mask"),
            None
        );

        let zeros = "0".repeat(32);
        let gateway = format!("fe80{}1", "0".repeat(27));
        let line =
            format!("{zeros} 00 {zeros} 00 {gateway} 00000400 00000001 00000000 00450003 eth0");
        let route = parse_route_v6(&line).unwrap();
        assert_eq!(
            (route.gateway.to_string().as_str(), route.interface.as_str()),
            ("fe80::1", "eth0")
        );
    }

    #[test]
    fn name_servers_are_those_of_resolv_conf() {
        let servers =
            name_servers("# nameserver 9\nnameserver 1.1.1.1\nsearch x\nnameserver ::1\n");
        assert_eq!(servers, ["1.1.1.1", "::1"]);
    }

    #[test]
    fn netmasks_follow_prefixes() {
        let network = |prefix| IpNetwork {
            addr: IpAddr::V4(Ipv4Addr::LOCALHOST),
            prefix,
        };
        let all = [network(24), network(0), network(32), network(255)];
        assert_eq!(
            masks(&all),
            "255.255.255.0,0.0.0.0,255.255.255.255,255.255.255.255"
        );
    }

    #[test]
    fn lists_this_machines_interfaces_but_loopback() {
        let mut expected: Vec<_> = std::fs::read_dir("/sys/class/net")
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "lo" && Path::new("/sys/class/net").join(name).is_dir())
            .collect();
        expected.sort_unstable();
        let inventory = gather(Path::new("/"));
        let found: Vec<_> = inventory.rows.iter().map(|row| row[0].clone()).collect();
        assert_eq!(found, expected);
        assert_eq!(
            inventory,
            gather(Path::new("/")),
            "two gatherings of one state differ"
        );
    }

    proptest! {
        #[test]
        fn any_route_is_read(line in "([0-9a-fA-F]{0,33} ?|eth0 ){0,12}") {
            let _ = (parse_route_v4(&line), parse_route_v6(&line));
        }
    }
}
