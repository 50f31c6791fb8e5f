//! What is known of the pilot.
