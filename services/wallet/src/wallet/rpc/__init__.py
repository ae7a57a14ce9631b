"""The way in by gRPC."""
