"""The web server for media and the player page."""
