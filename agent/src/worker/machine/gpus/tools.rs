//! Asks the makers' tools, or their drivers where there is no tool.

use std::ffi::OsString;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::{Gpu, Maker, parse};
use crate::batch::{CommandError, run_within};

/// A driver that has to wake its devices takes some seconds; one that hangs would hold up the worker's start.
const LIMIT: Duration = Duration::from_secs(10);

/// A tool, its arguments, and how its answer is read.
type Tool = (&'static str, &'static [&'static str], fn(&str) -> Vec<Gpu>);

const fn tools(maker: Maker) -> &'static [Tool] {
    match maker {
        Maker::Nvidia => &[(
            "nvidia-smi",
            &[
                "--query-gpu=index,uuid,pci.bus_id,name,memory.total",
                "--format=csv,noheader,nounits",
            ],
            parse::nvidia_smi,
        )],
        Maker::Amd => &[
            (
                "rocm-smi",
                &[
                    "--showbus",
                    "--showuniqueid",
                    "--showproductname",
                    "--showmeminfo",
                    "vram",
                    "--json",
                ],
                parse::rocm_smi,
            ),
            ("amd-smi", &["list", "--json"], parse::amd_smi),
        ],
        Maker::Intel => &[("xpu-smi", &["discovery", "-j"], parse::xpu_smi)],
    }
}

/// All GPUs that are here, maker by maker, and what went wrong. The makers are asked at once. `root` is `/`, but for tests.
pub(in super::super) fn find(root: &Path) -> (Vec<Gpu>, Vec<String>) {
    let each = thread::scope(|scope| {
        Maker::ALL
            .map(|maker| scope.spawn(move || of(root, maker)))
            .map(|asked| {
                let gone = |_| (Vec::new(), vec!["whoever looked for GPUs is gone".to_owned()]);
                asked.join().unwrap_or_else(gone)
            })
    });
    let (mut gpus, mut notes) = (Vec::new(), Vec::new());
    for (found, said) in each {
        gpus.extend(found);
        notes.extend(said);
    }
    super::place(root, &mut gpus);
    (gpus, notes)
}

fn of(root: &Path, maker: Maker) -> (Vec<Gpu>, Vec<String>) {
    let mut notes = Vec::new();
    for (tool, arguments, read) in tools(maker) {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        match run_within(LIMIT, maker.name(), tool, &arguments) {
            Ok(text) => {
                let found = read(&text);
                if !found.is_empty() {
                    return (found, notes);
                }
            }
            Err(CommandError::Missing { .. }) => {}
            Err(CommandError::Silent { .. }) => notes.push(format!(
                "{tool} did not answer within {LIMIT:?}: say with --gpus how many GPUs there are"
            )),
            // On machines without such a device it fails.
            Err(error) => notes.push(error.to_string()),
        }
    }
    let found = match maker {
        Maker::Nvidia => parse::nvidia_driver(root),
        Maker::Amd | Maker::Intel => parse::drm(root, maker),
    };
    (found, notes)
}
