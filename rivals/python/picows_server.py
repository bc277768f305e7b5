"""The `picows` package on uvloop, as in its documentation.

picows_server.py PORT. An echo at /echo; what one says at /fanout goes to all the others there.
"""

import asyncio
import sys

import uvloop
from picows import WSListener, WSMsgType, ws_create_server

peers = set()


class Echo(WSListener):
    def on_ws_frame(self, transport, frame):
        if frame.msg_type == WSMsgType.TEXT:
            transport.send(WSMsgType.TEXT, frame.get_payload_as_memoryview())
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()


class Fanout(WSListener):
    def on_ws_connected(self, transport):
        peers.add(transport)

    def on_ws_disconnected(self, transport):
        peers.discard(transport)

    def on_ws_frame(self, transport, frame):
        if frame.msg_type == WSMsgType.TEXT:
            payload = frame.get_payload_as_bytes()
            for peer in peers:
                if peer is not transport:
                    peer.send(WSMsgType.TEXT, payload)
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()


async def main():
    def listener(request):
        return Fanout() if request.path == b"/fanout" else Echo()

    server = await ws_create_server(listener, "127.0.0.1", int(sys.argv[1]), backlog=4096)
    async with server:
        # Whoever started it holds its input open.
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


uvloop.run(main())
