"""RTMP: the gate that strangers connect to, and behind it an nginx with nginx-rtmp on loopback addresses.

OBS → gate (listen.py, admission.py, connection.py, chunks.py, amf.py, rules.py) → nginx-rtmp (server.py) → segmenter
"""
