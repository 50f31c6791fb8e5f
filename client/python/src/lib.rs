//! `scalems_pilot._native`: the Rust client library for the Python package beside it, and no more than that. What users see is in
//! `client/python/python/scalems_pilot`; the types of this module are in `_native.pyi` there.
//!
//! Two rules: whatever waits gives the interpreter's lock back, in slices, so that signals are seen; and tasks cross the border in
//! batches, so that none costs a change of threads.

mod completions;
mod errors;
mod events;
mod handles;
mod session;
mod waiting;

#[pyo3::pymodule]
mod _native {
    #[pymodule_export]
    use crate::events::Events;
    #[pymodule_export]
    use crate::handles::{ArrayHandle, Handle, Template};
    #[pymodule_export]
    use crate::session::Session;

    use pyo3::prelude::*;
    use scalems_client::protocol::limits::{BODY_BYTES, VALUE_BYTES};

    #[pymodule_init]
    fn init(module: &Bound<'_, PyModule>) -> PyResult<()> {
        module.add("BODY_BYTES", BODY_BYTES)?;
        module.add("VALUE_BYTES", VALUE_BYTES)
    }
}
