"""How MySQL is reached: connections, pools, statements that go past SQLAlchemy, errors of the driver."""
