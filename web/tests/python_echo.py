"""The echo as a Python program sees it: python_echo.py ws://localhost:8765"""

import asyncio
import sys

from websockets.asyncio.client import connect


async def main(url: str) -> None:
    passed = 0
    async with connect(url) as socket:
        for sent, wanted in [
            ("hello", "Server received: hello"),
            ("grüße ✓", "Server received: grüße ✓"),
            (bytes(range(256)), bytes(range(256))),
        ]:
            await socket.send(sent)
            got = await asyncio.wait_for(socket.recv(), 10)
            assert got == wanted, f"sent {sent!r}, wanted {wanted!r}, got {got!r}"
            passed += 1
    assert socket.close_code == 1000, f"closed with {socket.close_code}"
    print(f"{passed} of 3")


asyncio.run(main(sys.argv[1]))
