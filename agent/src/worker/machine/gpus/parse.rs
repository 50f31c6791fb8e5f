//! What the makers' tools and drivers write about GPUs. Each is read for what is needed, and the rest of it may change.

use std::path::Path;

use serde_json::Value;

use super::{Gpu, Maker};

/// `nvidia-smi --query-gpu=index,uuid,pci.bus_id,name,memory.total --format=csv,noheader,nounits`.
pub(super) fn nvidia_smi(text: &str) -> Vec<Gpu> {
    let gpu = |line: &str| {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let [index, uuid, bus, name, memory] = fields[..] else {
            return None;
        };
        index.parse::<u32>().ok()?;
        Some(Gpu {
            uuid: Some(uuid.to_owned()),
            bus: bus_of(bus),
            model: Some(name.to_owned()),
            // `[N/A]` where it shares the machine's.
            memory_mib: memory.parse().ok(),
            ..Gpu::of(Maker::Nvidia, index)
        })
    };
    text.lines().filter_map(gpu).collect()
}

/// `rocm-smi --showbus --showuniqueid --showproductname --showmeminfo vram --json`: a map of cards, behind what it may have to warn of.
pub(super) fn rocm_smi(text: &str) -> Vec<Gpu> {
    let Some(Value::Object(cards)) = json(text, '{') else {
        return Vec::new();
    };
    let mut gpus: Vec<(u32, Gpu)> = cards
        .iter()
        .filter_map(|(card, facts)| {
            let number: u32 = card.strip_prefix("card")?.parse().ok()?;
            let fact = |name: &str| {
                let facts = facts.as_object()?.iter();
                // Releases differ in capitals.
                let mut same = facts.filter(|(key, _)| key.eq_ignore_ascii_case(name));
                same.find_map(|(_, value)| text_of(value))
            };
            let unique = fact("Unique ID").filter(|id| id.starts_with("0x"));
            let bytes = fact("VRAM Total Memory (B)").and_then(|bytes| bytes.parse::<u64>().ok());
            let gpu = Gpu {
                bus: fact("PCI Bus").as_deref().and_then(bus_of),
                model: fact("Card Series"),
                uuid: unique.map(|id| format!("GPU-{:0>16}", &id[2..])),
                memory_mib: bytes.map(|bytes| bytes >> 20),
                ..Gpu::of(Maker::Amd, number.to_string())
            };
            Some((number, gpu))
        })
        .collect();
    gpus.sort_unstable_by_key(|(number, _)| *number);
    gpus.into_iter().map(|(_, gpu)| gpu).collect()
}

/// `amd-smi list --json`.
pub(super) fn amd_smi(text: &str) -> Vec<Gpu> {
    let Some(Value::Array(all)) = json(text, '[') else {
        return Vec::new();
    };
    let gpu = |facts: &Value| {
        let number = facts.get("gpu")?.as_u64()?;
        Some(Gpu {
            bus: facts.get("bdf").and_then(text_of).as_deref().and_then(bus_of),
            // Not the one that its library knows it by.
            uuid: None,
            ..Gpu::of(Maker::Amd, number.to_string())
        })
    };
    all.iter().filter_map(gpu).collect()
}

/// `xpu-smi discovery -j`.
pub(super) fn xpu_smi(text: &str) -> Vec<Gpu> {
    let Some(Value::Object(said)) = json(text, '{') else {
        return Vec::new();
    };
    let devices = said.get("device_list").and_then(Value::as_array);
    let gpu = |facts: &Value| {
        let number = facts.get("device_id")?.as_u64()?;
        let fact = |name| facts.get(name).and_then(text_of);
        let bus = fact("pci_bdf_address").as_deref().and_then(bus_of);
        Some(Gpu {
            uuid: fact("uuid"),
            model: fact("device_name"),
            bus,
            ..Gpu::of(Maker::Intel, number.to_string())
        })
    };
    let devices = devices.into_iter().flatten().filter_map(gpu);
    devices.filter(|gpu| !is_built_in(gpu.bus.as_deref())).collect()
}

/// What NVIDIA's driver says in `/proc`, where its tool is not there.
pub(super) fn nvidia_driver(root: &Path) -> Vec<Gpu> {
    let Ok(directory) = root.join("proc/driver/nvidia/gpus").read_dir() else {
        return Vec::new();
    };
    let mut gpus: Vec<Gpu> = directory
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let text = std::fs::read_to_string(entry.path().join("information")).ok()?;
            let fact = |name: &str| {
                let mut lines = text.lines().filter_map(|line| line.split_once(':'));
                let value = lines.find(|(key, _)| key.trim() == name)?.1.trim();
                Some(value.to_owned())
            };
            Some(Gpu {
                bus: bus_of(entry.file_name().to_str()?),
                model: fact("Model"),
                uuid: fact("GPU UUID").filter(|uuid| !uuid.contains('?')),
                ..Gpu::of(Maker::Nvidia, "")
            })
        })
        .collect();
    number(&mut gpus);
    gpus
}

/// What the drivers of a maker other than NVIDIA say in `/sys`, where there is no tool.
pub(super) fn drm(root: &Path, maker: Maker) -> Vec<Gpu> {
    let Ok(directory) = root.join("sys/class/drm").read_dir() else {
        return Vec::new();
    };
    let vendor = match maker {
        Maker::Nvidia => return Vec::new(),
        Maker::Amd => "0x1002",
        Maker::Intel => "0x8086",
    };
    let mut gpus: Vec<Gpu> = directory
        .filter_map(|entry| {
            let entry = entry.ok()?;
            // Connectors are called card0-DP-1.
            let card = entry.file_name().to_str()?.strip_prefix("card")?.to_owned();
            card.parse::<u32>().ok()?;
            let device = entry.path().join("device");
            let read = |name: &str| std::fs::read_to_string(device.join(name)).ok();
            if read("vendor")?.trim() != vendor {
                return None;
            }
            let slot = read("uevent").and_then(|text| {
                let mut lines = text.lines();
                lines.find_map(|line| line.strip_prefix("PCI_SLOT_NAME=").map(str::to_owned))
            });
            let bytes: Option<u64> = read("mem_info_vram_total").and_then(|bytes| bytes.trim().parse().ok());
            let own = match maker {
                // What a processor's own graphics borrows is less.
                Maker::Amd => bytes.is_some_and(|bytes| bytes >= LEAST_OWN),
                _ => !is_built_in(slot.as_deref()),
            };
            own.then(|| Gpu {
                bus: slot.as_deref().and_then(bus_of),
                memory_mib: bytes.map(|bytes| bytes >> 20),
                ..Gpu::of(maker, "")
            })
        })
        .collect();
    number(&mut gpus);
    gpus
}

/// A card with less memory of its own is a processor's graphics, which is not for computing.
const LEAST_OWN: u64 = 2 << 30;

/// Whether this is where the graphics of Intel's processors is.
fn is_built_in(bus: Option<&str>) -> bool {
    bus.is_some_and(|bus| bus.ends_with(":00:02.0"))
}

/// Drivers number by place.
fn number(gpus: &mut [Gpu]) {
    gpus.sort_by(|one, other| one.bus.cmp(&other.bus));
    for (at, gpu) in gpus.iter_mut().enumerate() {
        gpu.id = at.to_string();
    }
}

/// `00000000:3B:00.0` is `0000:3b:00.0` in `/sys`.
fn bus_of(text: &str) -> Option<String> {
    let (domain, rest) = text.trim().split_once(':')?;
    let domain = u32::from_str_radix(domain, 16).ok()?;
    let plain = |c: char| c.is_ascii_hexdigit() || c == ':' || c == '.';
    // It becomes part of a path.
    (rest.len() == 7 && rest.chars().all(plain)).then(|| format!("{domain:04x}:{}", rest.to_lowercase()))
}

/// `0,2`, `0-3` or `0 1`.
pub(super) fn numbers(text: &str) -> Vec<u32> {
    let parts = text.split([',', ' ']).filter_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (
            first.trim().parse::<u32>().ok()?,
            last.trim().parse::<u32>().ok()?,
        );
        (last < 4_096).then_some(first..=last)
    });
    parts.flatten().collect()
}

/// The JSON that begins with this sign, behind lines of warnings.
fn json(text: &str, begins: char) -> Option<Value> {
    serde_json::from_str(&text[text.find(begins)?..]).ok()
}

fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() && text != "N/A" => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nvidias_tool_is_read() {
        let text = "0, GPU-5a1c0de0-0000-1111-2222-333344445555, 00000000:07:00.0, NVIDIA A100-SXM4-40GB, 40960\n\
                    1, GPU-77, 00000001:0F:00.0, NVIDIA GH200 480GB, [N/A]\n\
                    No devices were found\n";
        let gpus = nvidia_smi(text);
        assert_eq!(gpus.len(), 2);
        assert_eq!(gpus[0].bus.as_deref(), Some("0000:07:00.0"));
        assert_eq!(
            (gpus[0].model.as_deref(), gpus[0].memory_mib),
            (Some("NVIDIA A100-SXM4-40GB"), Some(40_960))
        );
        assert_eq!(
            (gpus[1].bus.as_deref(), gpus[1].memory_mib),
            (Some("0001:0f:00.0"), None)
        );
    }

    #[test]
    fn amds_tools_are_read() {
        let text = r#"WARNING: AMD GPU device(s) is/are in a low-power state
{"card10": {"PCI Bus": "0000:C6:00.0"}, "card2": {"Unique ID": "0x2150e7d042a1124", "PCI Bus": "0000:C1:00.0",
 "VRAM Total Memory (B)": "68702699520", "Card series": "AMD INSTINCT MI250"}, "system": {"Driver version": "6.7.0"}}"#;
        let gpus = rocm_smi(text);
        assert_eq!(
            gpus,
            [
                Gpu {
                    bus: Some("0000:c1:00.0".into()),
                    model: Some("AMD INSTINCT MI250".into()),
                    uuid: Some("GPU-02150e7d042a1124".into()),
                    memory_mib: Some(65_520),
                    ..Gpu::of(Maker::Amd, "2")
                },
                Gpu {
                    bus: Some("0000:c6:00.0".into()),
                    ..Gpu::of(Maker::Amd, "10")
                }
            ]
        );
        let listed = r#"[{"gpu": 0, "bdf": "0000:0b:00.0", "uuid": "x", "kfd_id": 7, "node_id": 3, "partition_id": 0}]"#;
        assert_eq!(amd_smi(listed)[0].bus.as_deref(), Some("0000:0b:00.0"));
        for other in ["", "no json {", "[]", "{}"] {
            assert_eq!((rocm_smi(other), amd_smi(other)), (vec![], vec![]), "{other}");
        }
    }

    #[test]
    fn intels_tool_is_read_without_built_in_graphics() {
        let text = r#"{"device_list": [
            {"device_id": 0, "device_name": "Intel(R) Graphics", "pci_bdf_address": "0000:00:02.0", "uuid": "0"},
            {"device_id": 1, "device_name": "Intel(R) Data Center GPU Max 1100", "pci_bdf_address": "0000:29:00.0",
             "uuid": "00000000-0000-0029-0000-002f0bda8086", "vendor_name": "Intel(R) Corporation"}]}"#;
        let gpus = xpu_smi(text);
        assert_eq!(gpus.len(), 1);
        assert_eq!(
            (gpus[0].id.as_str(), gpus[0].model.as_deref()),
            ("1", Some("Intel(R) Data Center GPU Max 1100"))
        );
    }

    #[test]
    fn drivers_are_read_where_there_is_no_tool() {
        let root = tempfile::tempdir().unwrap();
        for (file, text) in [
            (
                "proc/driver/nvidia/gpus/0000:3b:00.0/information",
                "Model: \t\t NVIDIA A30\nIRQ:   \t\t 55\nGPU UUID: \t GPU-??\nDevice Minor: \t 1\n",
            ),
            (
                "proc/driver/nvidia/gpus/0000:07:00.0/information",
                "Model: \t\t NVIDIA A30\nGPU UUID: \t GPU-11\n",
            ),
            ("sys/class/drm/card0/device/vendor", "0x1a03\n"),
            ("sys/class/drm/card0-VGA-1/device/vendor", "0x1002\n"),
            ("sys/class/drm/card1/device/vendor", "0x1002\n"),
            (
                "sys/class/drm/card1/device/uevent",
                "DRIVER=amdgpu\nPCI_SLOT_NAME=0000:c1:00.0\n",
            ),
            ("sys/class/drm/card1/device/mem_info_vram_total", "68702699520\n"),
            ("sys/class/drm/card2/device/vendor", "0x1002\n"),
            ("sys/class/drm/card2/device/mem_info_vram_total", "536870912\n"),
            ("sys/class/drm/card3/device/vendor", "0x8086\n"),
            (
                "sys/class/drm/card3/device/uevent",
                "PCI_SLOT_NAME=0000:00:02.0\n",
            ),
            ("sys/class/drm/card4/device/vendor", "0x8086\n"),
            (
                "sys/class/drm/card4/device/uevent",
                "PCI_SLOT_NAME=0000:29:00.0\n",
            ),
        ] {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let nvidia = nvidia_driver(root.path());
        let seen: Vec<_> = nvidia
            .iter()
            .map(|gpu| (gpu.id.as_str(), gpu.bus.as_deref(), gpu.uuid.as_deref()))
            .collect();
        assert_eq!(
            seen,
            [
                ("0", Some("0000:07:00.0"), Some("GPU-11")),
                ("1", Some("0000:3b:00.0"), None)
            ]
        );
        let amd = drm(root.path(), Maker::Amd);
        assert_eq!((amd.len(), amd[0].memory_mib), (1, Some(65_520)));
        let intel = drm(root.path(), Maker::Intel);
        assert_eq!((intel.len(), intel[0].bus.as_deref()), (1, Some("0000:29:00.0")));
    }

    #[test]
    fn places_and_numbers_are_read_or_left_out() {
        assert_eq!(bus_of("00000000:3B:00.0").as_deref(), Some("0000:3b:00.0"));
        for wrong in ["", "3b:00.0", "0000:../../x", "0000:3b:00.0/.."] {
            assert_eq!(bus_of(wrong), None, "{wrong}");
        }
        assert_eq!(numbers("0,2-3"), [0, 2, 3]);
        assert_eq!(numbers("0 1"), [0, 1]);
        assert_eq!(numbers("x,0-4294967295"), [0_u32; 0]);
    }
}
