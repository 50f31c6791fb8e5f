//! What a worker's process knows of its leases: the pure half of the worker.
