"""How MongoDB is reached: clients, drivers, secondaries, observation."""
