"""Broadcasts at outputs: listing, thumbnails, export, repair and deletion."""
