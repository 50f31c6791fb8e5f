//! What people write: selectors, and names of pilots.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scalems_protocol::PilotId;
use scalems_protocol::select::Selector;

fuzz_target!(|text: &str| {
    if let Ok(selector) = text.parse::<Selector>() {
        for pick in &selector.picks {
            assert!(pick.first <= pick.last, "a range rises");
        }
    }
    if let Ok(pilot) = text.parse::<PilotId>() {
        assert_eq!(pilot.to_string().parse::<PilotId>().as_ref(), Ok(&pilot));
    }
});
