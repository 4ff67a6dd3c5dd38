"""Query plans of all named statements: the repositories run on a connection that explains instead of executing."""
