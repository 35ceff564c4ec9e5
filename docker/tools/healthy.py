"""Exits with 0 when the server behind HEARTH_SOCKET takes a connection."""

import os
import socket

with socket.socket(socket.AF_UNIX) as client:
    client.settimeout(4)
    client.connect(os.environ["HEARTH_SOCKET"])
