"""The gRPC server: listeners, routing, health, TLS, and its life from start to drain."""
