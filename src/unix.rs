//! What only Unix has.
