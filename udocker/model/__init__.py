"""Values of the runtime: references, digests, manifests, mounts, containers."""
