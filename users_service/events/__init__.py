"""Events of users: what happened to whom, in an order that every later read agrees with."""
