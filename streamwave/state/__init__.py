"""StreamWave's state folder, and the secrets in it."""
