"""The gRPC server: listeners, routing, health, TLS, and its lifecycle from start to drain."""
