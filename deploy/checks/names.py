"""A name server for tests: answers A questions about the names it is given, over UDP, and nothing else."""

import socket
import struct
import threading


class Names:
    """Serves `names` (name without the last dot → list of IPv4 addresses) at an address while the context is open."""

    def __init__(self, address, names):
        self.address, self.names = address, names

    def __enter__(self):
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((self.address, 53))
        threading.Thread(target=self.serve, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.socket.close()

    def serve(self):
        while True:
            try:
                question, peer = self.socket.recvfrom(512)
            except OSError:
                return
            try:
                answer = self.answer(question)
            except (IndexError, struct.error, UnicodeDecodeError):
                continue
            try:
                self.socket.sendto(answer, peer)
            except OSError:
                return

    def answer(self, question):
        labels, at = [], 12
        while question[at]:
            labels.append(question[at + 1 : at + 1 + question[at]].decode())
            at += 1 + question[at]
        kind = struct.unpack(">H", question[at + 1 : at + 3])[0]
        known = self.names.get(".".join(labels).lower())
        addresses = known if known and kind == 1 else []
        code = 0 if known is not None else 3
        head = question[:2] + struct.pack(">HHHHH", 0x8180 | code, 1, len(addresses), 0, 0)
        records = b"".join(b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 1, 4) + socket.inet_aton(address) for address in addresses)
        return head + question[12 : at + 5] + records
