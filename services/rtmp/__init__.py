"""RTMP: a gate that publishers connect to, in front of nginx-rtmp, which listens on loopback addresses only.

OBS → gate (gate.py, admission.py, connection.py, chunks.py, rules.py) → nginx-rtmp (server.py) → segmenter
"""
