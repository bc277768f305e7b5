"""The `websockets` package on uvloop, which its documentation recommends; compression off, as it advises where memory
and CPU matter more than traffic.

websockets_server.py PORT. An echo at /echo; what one says at /fanout goes to all the others there.
"""

import asyncio
import sys

import uvloop
from websockets import ConnectionClosed
from websockets.asyncio.server import broadcast, serve

peers = set()


async def talk(socket):
    try:
        if socket.request.path == "/fanout":
            peers.add(socket)
            async for message in socket:
                broadcast(peers - {socket}, message)
        else:
            async for message in socket:
                await socket.send(message)
    except ConnectionClosed:
        pass  # It was cut without a goodbye: that is how a measurement ends.
    finally:
        peers.discard(socket)


async def main():
    async with serve(talk, "127.0.0.1", int(sys.argv[1]), compression=None, backlog=4096):
        # Whoever started it holds its input open.
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


uvloop.run(main())
