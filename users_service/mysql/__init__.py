"""Access to MySQL: connections, pools, statements that bypass SQLAlchemy, errors of the driver."""
