"""Hostile bytes between processes that run: frames.py requests|responses|orders SECONDS SEED TARGET, with valid messages, in hexadecimal, one a line of
its input. Prints what it did, as JSON.

requests: writes them, changed, to the core's socket TARGET, as whoever it runs as.
responses: takes the place of the core's socket TARGET, and answers what comes with them, changed.
orders: TARGET is the core's pid: takes what it has of its channels (pidfd_getfd(2)), and tells watchdog and looker what only a core can, as if others
had taken it over."""
import ctypes
import json
import os
import random
import select
import socket
import struct
import sys
import time

HOW, SECONDS, SEED, TARGET = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
MESSAGES = [bytes.fromhex(line) for line in sys.stdin.read().split()]
NUMBERS = [0, 1, 2, 3, 127, 255, 4095, 65535, 65536, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff]
WORDS = [b"\r\n\r\n", b"\0", b"!o\0", b"0\r\n", b"ffffffffffffffff\r\n", b"Content-Length: 9999999999\r\n", b"Transfer-Encoding: chunked\r\n", b"Passenger-File: 200 x\r\n",
         b"HTTP/1.1 101 X\r\n", b"999999999:", b"-1:", b"../../etc/shadow\0", b"/root\0", b"%n%s", b"\xff\xfe", b"PASSENGER/1 mismatch\n", b"x" * 9000]
rng = random.Random(SEED)


def changed(message):
    """The message with a few mistakes in it; one in ten is whole."""
    out = bytearray(message)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 2, 3, 4, 8, 30))):
        at = rng.randrange(len(out) + 1)
        what = rng.randrange(8)
        if what == 0 and out:
            out[at % len(out)] = rng.randrange(256)
        elif what == 1 and out:
            out[at % len(out)] ^= 1 << rng.randrange(8)
        elif what == 2:
            del out[at:]
        elif what == 3:
            del out[at:at + rng.randrange(1, 9)]
        elif what == 4:
            out[at:at] = rng.choice(WORDS)
        elif what == 5:
            out[at:at + 4] = struct.pack(">I", rng.choice(NUMBERS))
        elif what == 6:
            begin = rng.randrange(len(out) + 1)
            out[at:at] = out[begin:begin + rng.randrange(1, 200)]
        else:
            out[at:at] = str(rng.choice(NUMBERS)).encode()
    return bytes(out)


def requests(end):
    n = 0
    answered = 0
    open_ones = []
    while time.time() < end:
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(1)
        try:
            s.connect(TARGET)
            s.sendall(changed(rng.choice(MESSAGES)))
            if rng.randrange(3):
                s.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        n += 1
        open_ones.append(s)
        if len(open_ones) > 40:
            oldest = open_ones.pop(0)
            ready = select.select([oldest], [], [], 0)[0]
            try:
                answered += bool(ready and oldest.recv(65536))
            except OSError:
                pass
            oldest.close()
    return {"sent": n, "answered": answered}


def take_place(mine):
    """The watchdog puts its own socket back whenever it looks."""
    try:
        if os.stat(TARGET).st_ino == os.stat(mine).st_ino:
            return
    except FileNotFoundError:
        pass
    os.link(mine, mine + ".new")
    os.rename(mine + ".new", TARGET)


def responses(end):
    mine = TARGET + ".mine"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(mine)
    os.chmod(mine, 0o666)
    listener.listen(200)
    listener.settimeout(0.02)
    n = 0
    null = os.open("/dev/null", os.O_RDONLY)
    try:
        while time.time() < end:
            take_place(mine)
            try:
                s = listener.accept()[0]
            except socket.timeout:
                continue
            s.settimeout(0.5)
            try:
                s.recv(65536)
                message = changed(rng.choice(MESSAGES))
                cut = rng.randrange(len(message) + 1)
                fds = [null] * rng.choice((0, 0, 0, 1, 1, 2, 9))
                for part in (message[:cut], message[cut:]):
                    if part and fds:
                        s.sendmsg([part], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack("%di" % len(fds), *fds))])
                    elif part:
                        s.sendall(part)
            except OSError:
                pass
            n += 1
            s.close()
    finally:
        os.unlink(mine)
        listener.close()
    return {"sent": n}


def stolen(pid):
    """The core's own ends of its channels."""
    libc = ctypes.CDLL(None, use_errno=True)
    pidfd = libc.syscall(434, pid, 0)
    found = []
    for name in os.listdir("/proc/%d/fd" % pid):
        try:
            if not os.readlink("/proc/%d/fd/%s" % (pid, name)).startswith("socket:"):
                continue
        except OSError:
            continue
        fd = libc.syscall(438, pidfd, int(name), 0)
        if fd < 0:
            return None
        s = socket.socket(fileno=fd)
        if s.type & 0xff == socket.SOCK_SEQPACKET:
            found.append((s, name == "3"))
        else:
            s.close()
    return found


def text(value):
    return struct.pack(">I", len(value)) + value


def order(watchdog):
    """One of the messages in helper/msg.def that a core sends, in its shape at least. One that the watchdog does not know would be the last."""
    first = 0x48500001
    what = rng.choice((1, 2, 2, 3, 4, 4, 5, 5, 6, 7) if watchdog else (1, 8, 8, 8, 9))
    number = struct.pack(">Q", rng.choice((0, 1, 2, 3, 4, 5, rng.getrandbits(64), (1 << 64) - 1, (1 << 64) - 2)))
    spec = changed(rng.choice(MESSAGES))
    body = {2: number + struct.pack(">I", rng.randrange(3)) + text(spec), 3: number + struct.pack(">Q", rng.randrange(6)) + text(spec),
            4: number + struct.pack(">I", rng.choice(NUMBERS)), 5: number + text(rng.randbytes(rng.choice((0, 5, 300)))),
            8: number + text(rng.choice((b"/root", b"/", b"/proc/self/root", b"x" * 5000, b"")))
            + text(b"tmp") + text(b"../../etc/shadow") + text(b"/etc/shadow"), 9: struct.pack(">II", rng.choice(NUMBERS), rng.choice(NUMBERS))}.get(what, b"")
    if rng.randrange(4) == 0:
        body = changed(body)
    return struct.pack(">I", first + what - 1) + body


def orders(end):
    channels = stolen(int(TARGET))
    if channels is None:
        return {"refused": os.strerror(ctypes.get_errno())}
    n = 0
    while time.time() < end and channels:
        for s, watchdog in list(channels):
            try:
                s.setblocking(False)
                s.send(order(watchdog))
                n += 1
            except BlockingIOError:
                time.sleep(0.002)
            except OSError:
                channels.remove((s, watchdog))
    return {"sent": n, "channels": len(channels)}


print(json.dumps({"requests": requests, "responses": responses, "orders": orders}[HOW](time.time() + SECONDS)))
