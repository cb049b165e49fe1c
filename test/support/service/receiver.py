# A service manager's end of $NOTIFY_SOCKET: prints each datagram as a line of JSON, with the process that has sent it.
import array, json, os, socket, struct, sys

name = sys.argv[1]
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
receiver.bind("\0" + name[1:] if name.startswith("@") else name)
print(json.dumps({"pid": os.getpid(), "text": "listening"}), flush=True)
while True:
    data, ancillary, _, _ = receiver.recvmsg(65536, 4096)
    pid = 0
    for _, kind, content in ancillary:
        if kind == socket.SCM_CREDENTIALS:
            pid = struct.unpack("3i", content[:12])[0]
        elif kind == socket.SCM_RIGHTS:
            # systemd-notify waits until its descriptor is closed: everything before it has been read then.
            for fd in array.array("i", content):
                os.close(fd)
    print(json.dumps({"pid": pid, "text": data.decode()}), flush=True)
