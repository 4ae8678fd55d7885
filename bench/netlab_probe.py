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
WARM_UP_ROUND_TRIPS = 20
PATIENCE_SECONDS = 30.0
# 100 ms at 200 Mbit/s are more than the kernel grants a connection that does not ask.
BUFFER_BYTES = 16 << 20
SO_SNDBUFFORCE = 32  # <asm/socket.h>; the module has no name for them
SO_RCVBUFFORCE = 33


def tcp_socket():
    tcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    tcp.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, BUFFER_BYTES)
    tcp.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
    # What has not left yet must not fill all that: it would take minutes on a slow line.
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, 1 << 16)
    tcp.settimeout(PATIENCE_SECONDS)
    return tcp


def receive(address):
    datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    datagrams.bind((address, PORT))
    datagrams.settimeout(PATIENCE_SECONDS)
    server = tcp_socket()
    server.bind((address, PORT))
    server.listen(1)
    times = []
    while True:
        sent = struct.unpack("d", datagrams.recv(64)[:8])[0]
        now = time.monotonic()
        if sent < 0:  # that was all of them
            break
        times.append(now - sent)
    one_way = statistics.median(times)
    connection = server.accept()[0]
    begin = now = time.monotonic()
    start, size = now + WARM_UP_SECONDS + WARM_UP_ROUND_TRIPS * 2 * one_way, 0
    while chunk := connection.recv(1 << 18):
        now = time.monotonic()
        if now < start:
            begin = now
        else:
            size += len(chunk)
    print(f"{8e-6 * size / (now - begin):.4f} {1e3 * one_way:.4f}")


def send(address, seconds):
    # Its listening socket is there last: connecting finds out that the receiver is ready.
    patience = time.monotonic() + PATIENCE_SECONDS
    while True:
        connection = tcp_socket()
        asked = time.monotonic()
        try:
            connection.connect((address, PORT))
            round_trip = time.monotonic() - asked
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
    block = bytes(1 << 14)
    end = time.monotonic() + WARM_UP_SECONDS + WARM_UP_ROUND_TRIPS * round_trip + seconds
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
