#!/usr/bin/env python3
"""What a line of scripts/netlab gives in one direction, measured by the two ends themselves.

  netlab_probe.py receive ADDRESS            prints "PAYLOAD_MBPS ONE_WAY_MS" and ends
  netlab_probe.py send ADDRESS SECONDS

One way times need one clock, which two namespaces of a machine have. They are the medians of
datagrams on the idle line; the bandwidth is that of one TCP connection once it has got going.
"""

import signal
import socket
import statistics
import struct
import sys
import time

PORT = 5001
NUM_DATAGRAMS = 20
WARM_UP_SECONDS = 1.0
PATIENCE_SECONDS = 30.0


def receive(address):
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind((address, PORT))
    datagrams.settimeout(PATIENCE_SECONDS)
    server = socket.create_server((address, PORT))
    server.settimeout(PATIENCE_SECONDS)
    times = []
    while True:
        sent = struct.unpack("d", datagrams.recv(64)[:8])[0]
        now = time.monotonic()
        if sent < 0:  # that was all of them
            break
        times.append(now - sent)
    connection = server.accept()[0]
    start, size, now = None, 0, time.monotonic()
    begin = now
    while chunk := connection.recv(1 << 18):
        now = time.monotonic()
        if start is not None:
            size += len(chunk)
        elif now > begin + WARM_UP_SECONDS:
            start = now
    # The first datagrams also asked for the neighbour's hardware address.
    print(f"{8e-6 * size / (now - start):.4f} {1e3 * statistics.median(times[2:]):.4f}")


def send(address, seconds):
    # Its listening socket is there last: connecting finds out that the receiver is ready.
    patience = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            connection = socket.create_connection((address, PORT), timeout=PATIENCE_SECONDS)
            break
        except ConnectionRefusedError:
            if time.monotonic() > patience:
                raise
            time.sleep(0.05)
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for _ in range(NUM_DATAGRAMS):
        datagrams.sendto(struct.pack("d", time.monotonic()), (address, PORT))
        time.sleep(0.03)
    datagrams.sendto(struct.pack("d", -1.0), (address, PORT))
    block = bytes(1 << 18)
    end = time.monotonic() + WARM_UP_SECONDS + seconds
    while time.monotonic() < end:
        connection.sendall(block)
    connection.close()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if len(sys.argv) == 3 and sys.argv[1] == "receive":
        receive(sys.argv[2])
    elif len(sys.argv) == 4 and sys.argv[1] == "send":
        send(sys.argv[2], float(sys.argv[3]))
    else:
        sys.exit(__doc__)
