"""OCI distribution client: transport, authentication, pulls."""
