"""The chassis of both gRPC services: server, interceptors, errors, settings, logs, metrics, console commands."""

import os

# gRPC's core reads this when it is loaded. Otherwise it writes a line to standard error for each bad header that a
# caller sends, from the thread that serves all calls; that thread would wait while nobody reads standard error.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")
