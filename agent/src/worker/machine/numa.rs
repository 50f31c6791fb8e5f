//! Which CPUs and GPUs are near each other, as the kernel says it in `/sys`.

use std::path::Path;

use scalems_core::leaseholder::NumaNode;

use super::cpus::Cpus;
use super::gpus::Offered;

/// More are on no machine that we have heard of; a list that goes on and on is none of the kernel's.
const MOST_CPUS: u32 = 65_536;

/// The nodes of this machine with the CPUs of each, by number. `root` is `/`, but for tests.
pub(super) fn nodes(root: &Path) -> Vec<(u32, Vec<u32>)> {
    let Ok(directory) = root.join("sys/devices/system/node").read_dir() else {
        return Vec::new();
    };
    let mut nodes: Vec<(u32, Vec<u32>)> = directory
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let number = entry.file_name().to_str()?.strip_prefix("node")?.parse().ok()?;
            let list = std::fs::read_to_string(entry.path().join("cpulist")).ok()?;
            Some((number, cpu_list(&list)))
        })
        .collect();
    nodes.sort_unstable();
    nodes
}

/// The node that a PCI device is near, if it is near one.
pub(super) fn node_of(root: &Path, bus: &str) -> Option<u32> {
    let file = root.join("sys/bus/pci/devices").join(bus).join("numa_node");
    // -1 stands for none.
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// `0-3,8`. What cannot be read is passed over.
fn cpu_list(text: &str) -> Vec<u32> {
    let parts = text.trim().split(',').filter_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        (last < MOST_CPUS).then_some(first..=last)
    });
    parts.flatten().collect()
}

/// The nodes with what is offered of each. CPUs that are only counted are nowhere.
pub(super) fn offered(nodes: &[(u32, Vec<u32>)], cpus: &Cpus, gpus: &[Offered]) -> Vec<NumaNode> {
    if !cpus.real {
        return Vec::new();
    }
    let of = |(number, all): &(u32, Vec<u32>)| NumaNode {
        cpus: all
            .iter()
            .copied()
            .filter(|cpu| cpus.numbers.contains(cpu))
            .collect(),
        gpus: gpus
            .iter()
            .filter(|offered| offered.gpu.node == Some(*number))
            .map(|offered| offered.number)
            .collect(),
    };
    let found = nodes.iter().map(of);
    found
        .filter(|node| !node.cpus.is_empty() || !node.gpus.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::gpus::{Gpu, Maker};
    use super::*;

    #[test]
    fn lists_of_cpus_are_read() {
        assert_eq!(cpu_list("0-3,8\n"), [0, 1, 2, 3, 8]);
        assert_eq!(cpu_list("\n"), [0_u32; 0], "a node of memory alone");
        assert_eq!(cpu_list("x,5,0-99999999"), [5]);
    }

    #[test]
    fn what_is_offered_is_put_where_it_is() {
        let root = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("sys/devices/system/node/node1/cpulist", "4-7\n"),
            ("sys/devices/system/node/node0/cpulist", "0-3\n"),
            ("sys/devices/system/node/node2/cpulist", "\n"),
            ("sys/devices/system/node/online", "0-2\n"),
            ("sys/bus/pci/devices/0000:3b:00.0/numa_node", "1\n"),
            ("sys/bus/pci/devices/0000:03:00.0/numa_node", "-1\n"),
        ] {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let nodes = nodes(root.path());
        assert_eq!(nodes, [(0, vec![0, 1, 2, 3]), (1, vec![4, 5, 6, 7]), (2, vec![])]);
        assert_eq!(node_of(root.path(), "0000:3b:00.0"), Some(1));
        assert_eq!(node_of(root.path(), "0000:03:00.0"), None);
        let mut cpus = Cpus {
            numbers: vec![2, 3, 4, 5],
            real: true,
        };
        let gpu = Gpu {
            node: Some(1),
            ..Gpu::of(Maker::Nvidia, "0")
        };
        let gpus = [Offered { number: 3, gpu }];
        let node = |cpus: &[u32], gpus: &[u32]| NumaNode {
            cpus: cpus.into(),
            gpus: gpus.into(),
        };
        assert_eq!(
            offered(&nodes, &cpus, &gpus),
            [node(&[2, 3], &[]), node(&[4, 5], &[3])]
        );
        cpus.real = false;
        assert_eq!(offered(&nodes, &cpus, &gpus), []);
    }
}
