"""Access to MongoDB: clients, drivers, secondaries, observation."""
