"""Resource to what a platform runs: manifests later, broker settings now. Pure builders, one file per kind."""
