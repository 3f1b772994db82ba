"""An application that takes up any protocol that it is offered ("Upgrade: x"), in the place of the loader that imports it. The path says how:

    /echo    sends back what comes; at the other side's end says "bye:", the number of bytes and "\\n", and ends
    /early   says "early\\n" together with the head, then as /echo
    /last    says "last words\\n" and ends its half, then prints how many bytes still came
    /sink    reads nothing until the path /drain is asked for on another connection, then as /echo without sending back
    /flood   sends zeros without end and reads nothing
    /close   ends at once
    /wrong   says 101 without saying to what
    /other   ... to another protocol than was asked for
    /always  ... even if nothing was asked for
    /events  is a stream of events: one, and no more
    /slow    answers when /drain is asked for

Everything else, and whatever comes without HTTP_UPGRADE, is answered with JSON: status 200, or what the query says (400), the pairs of the
request, and the process's id.
"""
import json
import os
import socket
import stat
import struct
import threading

drain = threading.Event()


def exactly(sock, count):
    data = b""
    while len(data) < count:
        more = sock.recv(min(65536, count - len(data)))
        if not more:
            raise EOFError
        data += more
    return data


def switch(sock, protocol, more=b""):
    upgrade = b"Upgrade: " + protocol + b"\r\n" if protocol else b""
    sock.sendall(b"HTTP/1.1 101 Go on\r\n" + upgrade + b"Connection: Upgrade\r\nX-Extra: yes\r\nContent-Length: 7\r\n\r\n" + more)


def echo(sock, back=True):
    size = 0
    while True:
        data = sock.recv(65536)
        if not data:
            break
        size += len(data)
        if back:
            sock.sendall(data)
    sock.sendall(b"bye:%d\n" % size)
    sock.shutdown(socket.SHUT_WR)


def tunnel(sock, path, protocol):
    if path in ("/wrong", "/other"):
        switch(sock, b"" if path == "/wrong" else b"other")
        return
    switch(sock, protocol, b"early\n" if path == "/early" else b"")
    if path == "/last":
        sock.sendall(b"last words\n")
        sock.shutdown(socket.SHUT_WR)
        size = 0
        while True:
            data = sock.recv(65536)
            if not data:
                break
            size += len(data)
        os.write(2, b"%d bytes came after the last words\n" % size)
    elif path == "/sink":
        drain.wait()
        echo(sock, False)
    elif path == "/flood":
        while True:
            sock.sendall(bytes(65536))
    elif path != "/close":
        echo(sock)


def serve(sock):
    try:
        while True:
            size, = struct.unpack(">I", exactly(sock, 4))
            fields = exactly(sock, size).decode("latin-1").split("\0")[:-1]
            pairs = dict(zip(fields[::2], fields[1::2]))
            if pairs.get("CONTENT_LENGTH"):
                exactly(sock, int(pairs["CONTENT_LENGTH"]))
            path = pairs["PATH_INFO"]
            protocol = pairs.get("HTTP_UPGRADE")
            if path == "/always" or (protocol and path in "/echo /early /last /sink /flood /close /wrong /other".split()):
                tunnel(sock, path, (protocol or "any").encode())
                return
            if path == "/drain":
                drain.set()
            if path == "/slow":
                drain.wait()
            if path == "/events":
                sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: 1\n\n\r\n")
                sock.recv(1)
                return
            body = json.dumps({"pairs": pairs, "pid": os.getpid()}).encode()
            status = (pairs["QUERY_STRING"] or "200").encode()
            sock.sendall(b"HTTP/1.1 " + status + b" So\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    except (OSError, EOFError):
        pass
    finally:
        sock.close()


def end_with_control():
    """The end of the control pipe, whatever number the loader gave it, is the order to go."""
    for fd in range(4, 32):
        try:
            if stat.S_ISFIFO(os.fstat(fd).st_mode):
                os.read(fd, 1)
                os._exit(0)
        except OSError:
            pass


listener = socket.socket(fileno=3)
listener.setblocking(True)
threading.Thread(target=end_with_control, daemon=True).start()
os.write(1, b"!> Ready\n!> socket: main;fd:3;session;0\n!> \n")
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
