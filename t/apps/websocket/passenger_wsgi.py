"""An ASGI application for WebSockets. The path says what happens: see the functions' names."""
import asyncio
import os
from urllib.parse import parse_qsl


async def echo(scope, receive, send, query):
    """Takes the first protocol that is offered, and tells how it ended."""
    offered = scope["subprotocols"]
    await send({"type": "websocket.accept", "subprotocol": offered[0] if offered else None, "headers": [(b"x-extra", b"yes")]})
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            os.write(2, b"echo ended: %d %s\n" % (event["code"], event["reason"].encode()))
            return
        await send({"type": "websocket.send", "text": event.get("text"), "bytes": event.get("bytes")})


async def show(scope, receive, send, query):
    await send({"type": "websocket.accept"})
    scope = {name: scope.get(name) for name in ("type", "scheme", "path", "root_path", "subprotocols", "http_version", "client")}
    await send({"type": "websocket.send", "text": repr(scope)})
    await send({"type": "websocket.close"})


async def refuse(scope, receive, send, query):
    await send({"type": "websocket.close", "code": 4000})


async def http(scope, receive, send, query):
    assert "websocket.http.response" in scope["extensions"]
    await send({"type": "websocket.http.response.start", "status": 401, "headers": [(b"www-authenticate", b"Basic")]})
    await send({"type": "websocket.http.response.body", "body": b"who ", "more_body": True})
    await send({"type": "websocket.http.response.body", "body": b"are you?\n"})


async def close(scope, receive, send, query):
    await send({"type": "websocket.accept"})
    await send({"type": "websocket.close", "code": int(query["code"]), "reason": query.get("reason")})
    os.write(2, b"close told: %s\n" % repr(await receive()).encode())


async def push(scope, receive, send, query):
    """Sends without end, and counts."""
    await send({"type": "websocket.accept"})
    sent = 0
    try:
        while True:
            await send({"type": "websocket.send", "bytes": bytes(65536)})
            sent += 1
    except OSError as error:
        os.write(2, b"push ended after %d: OSError\n" % sent)


async def leaves(scope, receive, send, query):
    await send({"type": "websocket.accept"})


async def fails(scope, receive, send, query):
    if query.get("first"):
        await send({"type": "websocket.accept"})
    raise RuntimeError("this WebSocket fails")


async def silent(scope, receive, send, query):
    pass


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        while True:
            event = await receive()
            await send({"type": event["type"] + ".complete"})
            if event["type"] == "lifespan.shutdown":
                return
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"%d" % os.getpid()})
        return
    assert scope["type"] == "websocket"
    assert (await receive())["type"] == "websocket.connect"
    name = scope["path"].rpartition("/")[2]
    await globals()[name](scope, receive, send, dict(parse_qsl(scope["query_string"].decode())))
