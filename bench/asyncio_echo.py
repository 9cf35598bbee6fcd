"""An echo server on asyncio or uvloop, on streams: asyncio_echo.py asyncio|uvloop tcp BUFFER"""
import asyncio
import socket
import sys

if sys.argv[1] == "uvloop":
    import uvloop
    uvloop.install()
SIZE = int(sys.argv[3])


async def serve(reader, writer):
    while data := await reader.read(SIZE):
        writer.write(data)
        await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0, family=socket.AF_INET, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()

asyncio.run(main())
