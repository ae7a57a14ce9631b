"""The gRPC services. Reads go to the store with the caller's scope; changes to the commands."""
