//! The daemon maas_service and the per-instance maas_runner.
