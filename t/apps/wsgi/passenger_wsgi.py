"""A WSGI application for tests: what it was asked, and responses of every shape, by path."""
import hashlib
import json
import os
import sys
import time
from urllib.parse import parse_qs

count = 0


def answer(start_response, body, status="200 OK", kind="text/plain", headers=()):
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))] + list(headers))
    return [body]


def echo(environ, start_response, query):
    """The request as it arrived: environ, the body's length and digest, the process."""
    digest, length = hashlib.sha1(), 0
    while True:
        block = environ["wsgi.input"].read(65536)
        if not block:
            break
        digest.update(block)
        length += len(block)
    facts = {
        "environ": {name: value for name, value in environ.items() if isinstance(value, str)},
        "length": length, "sha1": digest.hexdigest(), "pid": os.getpid(), "count": count,
        "uid": os.getuid(), "gid": os.getgid(), "groups": os.getgroups(), "cwd": os.getcwd(),
    }
    return answer(start_response, json.dumps(facts).encode(), kind="application/json")


def process(environ, start_response, query):
    """What the process has: environment, descriptors, arguments."""
    fds = {fd: os.readlink("/proc/self/fd/" + fd) for fd in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + fd)}
    facts = {"env": dict(os.environ), "fds": fds, "argv": sys.argv, "pid": os.getpid(), "umask": os.umask(0o22),
             "uids": os.getresuid(), "gids": os.getresgid(), "groups": os.getgroups(), "modules": sorted(sys.modules)}
    return answer(start_response, json.dumps(facts).encode(), kind="application/json")


def status(environ, start_response, query):
    """/status?s=404+Gone+away: that status, with a small body."""
    return answer(start_response, b"status\n", status=query["s"][0])


def bare(environ, start_response, query):
    """/bare?s=204+No+Content: that status and nothing else."""
    start_response(query["s"][0], [])
    return []


def big(environ, start_response, query):
    """/big?n=BYTES: a body of known length."""
    return answer(start_response, b"x" * int(query["n"][0]))


def stream(environ, start_response, query):
    """/stream?n=COUNT&size=BYTES&wait=SECONDS&fail=N: blocks of unknown total length; raises after N of them."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    fail = int(query.get("fail", ["-1"])[0])
    for i in range(int(query.get("n", ["3"])[0])):
        if i == fail:
            raise ValueError("failed in the middle, as it was told")
        yield (b"%d" % (i % 10)) * int(query.get("size", ["10"])[0])
        time.sleep(float(query.get("wait", ["0"])[0]))


def slow(environ, start_response, query):
    """/slow?s=SECONDS: an answer after a while, announced in the log."""
    print("slow begins", file=environ["wsgi.errors"], flush=True)
    time.sleep(float(query["s"][0]))
    return answer(start_response, b"slow\n")


def late(environ, start_response, query):
    """/late?s=SECONDS: echo, but the body is not read before."""
    time.sleep(float(query["s"][0]))
    return echo(environ, start_response, query)


def headers(environ, start_response, query):
    """/headers?h=Name:value&h=...: those headers."""
    fields = [tuple(part.strip() for part in field.split(":", 1)) for field in query["h"]]
    return answer(start_response, b"headers\n", headers=fields)


def crash(environ, start_response, query):
    raise RuntimeError("crashed, as it was told")


def die(environ, start_response, query):
    os.kill(os.getpid(), int(query.get("signal", ["9"])[0]))
    time.sleep(10)
    return answer(start_response, b"still here\n")


def log(environ, start_response, query):
    print(query["text"][0], file=environ["wsgi.errors"], flush=True)
    return answer(start_response, b"logged\n")


PATHS = {"/process": process, "/status": status, "/bare": bare, "/big": big, "/stream": stream, "/slow": slow, "/late": late,
         "/headers": headers, "/crash": crash, "/die": die, "/log": log}


def application(environ, start_response):
    global count
    count += 1
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True, encoding="latin-1")
    return PATHS.get(environ["PATH_INFO"], echo)(environ, start_response, query)
