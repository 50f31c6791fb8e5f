//! Headers: whatever bytes come, no decoder panics, and what one takes says the same when it is said again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use scalems_protocol::client::{AgentToClient, ClientToAgent};
use scalems_protocol::event::AgentToSubscriber;
use scalems_protocol::scan;
use scalems_protocol::worker::{AgentToWorker, WorkerToAgent};

macro_rules! said_again {
    ($type:ty, $header:expr) => {
        if let Ok(message) = <$type>::decode($header) {
            let said = message.encode();
            let again = <$type>::decode(&said).map(|message| message.encode());
            assert_eq!(again, Ok(said), "{message:?} is another when it is said again");
        }
    };
}

fuzz_target!(|header: &[u8]| {
    // What comes of it is the other fuzzed calls' matter.
    let _scanned = scan::scan(header);
    let _value = scan::scan_value(header);
    match ClientToAgent::decode(header) {
        Ok(ClientToAgent::Named(message)) => {
            let said = message.encode();
            let Ok(ClientToAgent::Named(again)) = ClientToAgent::decode(&said) else {
                panic!("{message:?} cannot be said again");
            };
            assert_eq!(
                again.encode(),
                said,
                "{message:?} is another when it is said again"
            );
        }
        Ok(ClientToAgent::Envelope(envelope)) => {
            if let Some(place) = envelope.data {
                assert!(place.end <= header.len(), "an envelope's data lie in its header");
            }
        }
        Err(_) => {}
    }
    said_again!(AgentToClient, header);
    said_again!(WorkerToAgent, header);
    said_again!(AgentToWorker, header);
    said_again!(AgentToSubscriber, header);
});
