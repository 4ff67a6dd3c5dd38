"""Query plans of all named commands: the repositories run on a database that explains instead of executing."""
