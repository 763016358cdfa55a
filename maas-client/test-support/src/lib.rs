//! One helper per real outside party, for tests.
