"""What both gRPC servers share: errors, interceptors, settings, server, health, lifecycle."""
