"""The users service on a sharded Vitess: vtcombo, which is all of Vitess in one process, over a local MySQL.

`script/test --databases=vitess tests/integration/users` runs the tests on it, but for those in `exceptions`.
"""
