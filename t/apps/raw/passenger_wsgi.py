"""An application that obeys orders byte by byte. It takes the place of the loader that imports it: it announces itself and serves
descriptor 3, one thread per connection. The query string is a list of orders, carried out after the request's body was read:

    send=BYTES  wait=SECONDS  times=N (of the next send)  close  reset  kill  exit=N  log=TEXT  hang (until the other side closes)
    unlisten (closes the listening socket)

"noread" as the first leaves the body unread. Without orders the answer is JSON: the pairs of the request, in order, and its body's length.
The path /requests answers with what was asked so far: [[method, uri, body length], ...].
"""
import json
import os
import select
import signal
import socket
import stat
import struct
import threading
import time
from urllib.parse import unquote_to_bytes

requests = []


def exactly(sock, count):
    data = b""
    while len(data) < count:
        more = sock.recv(min(65536, count - len(data)))
        if not more:
            raise EOFError
        data += more
    return data


def read_body(sock, pairs):
    if "CONTENT_LENGTH" in pairs:
        return len(exactly(sock, int(pairs["CONTENT_LENGTH"] or 0)))
    size = 0
    if pairs.get("HTTP_TRANSFER_ENCODING") == "chunked":
        while True:
            more = sock.recv(65536)
            if not more:
                break
            size += len(more)
    return size


def send_json(sock, value):
    body = json.dumps(value).encode()
    sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def obey(sock, orders):
    """Returns False when the connection is over."""
    times = 1
    for order in orders:
        name, _, value = order.partition("=")
        value = unquote_to_bytes(value)
        if name == "send":
            for _ in range(times):
                sock.sendall(value)
            times = 1
        elif name == "times":
            times = int(value)
        elif name == "wait":
            time.sleep(float(value))
        elif name == "hang":
            select.select([sock], [], [], 60)
        elif name == "unlisten":
            # Closed alone it would live on as long as a thread waits in accept.
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        elif name == "log":
            os.write(2, value + b"\n")
        elif name == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif name == "exit":
            os._exit(int(value))
        elif name == "reset":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        elif name == "close":
            return False
    return True


def serve(sock):
    try:
        while True:
            size, = struct.unpack(">I", exactly(sock, 4))
            fields = exactly(sock, size).decode("latin-1").split("\0")[:-1]
            names = list(zip(fields[::2], fields[1::2]))
            pairs = dict(names)
            orders = [order for order in pairs.get("QUERY_STRING", "").split("&") if order]
            length = -1 if orders[:1] == ["noread"] else read_body(sock, pairs)
            if pairs.get("PATH_INFO") == "/requests":
                send_json(sock, requests)
                continue
            requests.append([pairs["REQUEST_METHOD"], pairs.get("REQUEST_URI"), length])
            if not orders:
                send_json(sock, {"pairs": names, "length": length, "pid": os.getpid()})
            elif not obey(sock, orders):
                return
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
os.write(1, b"!> Ready\n!> socket: main;fd:3;session;1\n!> \n")
while True:
    try:
        link = listener.accept()[0]
    except OSError:
        threading.Event().wait()
    threading.Thread(target=serve, args=(link,), daemon=True).start()
