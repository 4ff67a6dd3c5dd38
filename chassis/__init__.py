"""What both gRPC servers share: errors, interceptors, settings, server, health, lifecycle."""

import os

# gRPC's core reads this when it is loaded. It writes a line to standard error for each bad header that a caller sends:
# unasked, at once, from the thread that serves all calls, which then waits for whoever reads standard error.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
