"""WebSocket's handshake, frames and close codes as bytes (RFC 6455, without extensions): no sockets, no application."""

import codecs
from binascii import Error as Base64Error, a2b_base64, b2a_base64

try:
    from _sha1 import sha1
except ImportError:
    from hashlib import sha1

MESSAGE_LIMIT = 1 << 24             # bytes of a message, as other servers have it
GUID = b'258EAFA5-E914-47DA-95CA-C5AB0DC85B11'
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
NORMAL, GOING_AWAY, NO_CODE, ABNORMAL, TOO_BIG, INTERNAL, RESTART = 1000, 1001, 1005, 1006, 1009, 1011, 1012
WRONG, NOT_UTF8 = 1002, 1007
UTF8 = codecs.getincrementaldecoder('utf-8')


class Violation(Exception):
    """What the other side must be told before the connection is closed: code and reason."""


def accept_value(key):
    """What the server answers to a client's key, or None if that is none."""
    try:
        good = len(a2b_base64(key)) == 16 and len(key) == 24
    except Base64Error:
        good = False
    return b2a_base64(sha1(key + GUID).digest(), newline=False) if good else None


def valid_code(code):
    return 1000 <= code <= 1014 and code not in (1004, NO_CODE, ABNORMAL) or 3000 <= code <= 4999


def head(opcode, length):
    """Of a whole message, or of a control frame."""
    if length < 126:
        return bytes((128 | opcode, length))
    if length < 65536:
        return bytes((128 | opcode, 126)) + length.to_bytes(2, 'big')
    return bytes((128 | opcode, 127)) + length.to_bytes(8, 'big')


def close_frame(code, reason=''):
    payload = b'' if code == NO_CODE else code.to_bytes(2, 'big') + reason.encode('utf-8')
    return head(CLOSE, len(payload)) + payload


def unmask(data, mask, at):
    """`data` stands at this place of what was masked; big numbers are the fastest way that the language has."""
    size = len(data)
    at &= 3
    pattern = (mask[at:] + mask[:at]) * (size // 4 + 1)
    return (int.from_bytes(data, 'little') ^ int.from_bytes(pattern[:size], 'little')).to_bytes(size, 'little')


class Reader:
    """Takes what a client sends in any pieces. `on_message(data)` gets a str or bytes, `on_control(opcode, payload)` the others."""

    def __init__(self, on_message, on_control):
        self.on_message = on_message
        self.on_control = on_control
        self.kind = None            # of the message that is being received
        self.message = bytearray()
        self.decoder = None         # sees at once what is no UTF-8
        self.inbox = b''            # the beginning of a frame's head
        self.opcode = None          # of the frame whose payload is being received
        self.last = False
        self.mask = b''
        self.length = self.at = 0   # of the payload
        self.control = b''          # payload of a control frame
        self.ended = False          # a close frame was there: nothing counts after it

    def feed(self, data):
        data = self.inbox + data if self.inbox else data
        at = 0
        while not self.ended:
            if self.opcode is None:
                used = self.take_head(data, at)
                if not used:
                    break
                at += used
            elif at == len(data) and self.at < self.length:
                break
            else:
                piece = data[at:at + self.length - self.at]
                at += len(piece)
                self.take_payload(unmask(piece, self.mask, self.at))
        self.inbox = data[at:] if not self.ended else b''

    def take_head(self, data, at):
        """Returns the length of the head; 0 if it is not whole yet."""
        have = len(data) - at
        if have < 2:
            return 0
        first, second = data[at], data[at + 1]
        opcode, length = first & 15, second & 127
        extra = 8 if length == 127 else 2 if length == 126 else 0
        if first & 0x70:
            raise Violation(WRONG, 'a reserved bit is set')
        if opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise Violation(WRONG, 'unknown opcode')
        if not second & 128:
            raise Violation(WRONG, 'a frame without a mask')
        if opcode >= CLOSE and (length > 125 or not first & 128):
            raise Violation(WRONG, 'a control frame that is long or fragmented')
        if opcode < CLOSE and (opcode == CONTINUATION) != (self.kind is not None):
            raise Violation(WRONG, 'a continuation of nothing' if opcode == CONTINUATION else 'a message within a message')
        if have < 2 + extra + 4:
            return 0
        if extra:
            length = int.from_bytes(data[at + 2:at + 2 + extra], 'big')
            if length >> 63 or length < (126 if extra == 2 else 65536):
                raise Violation(WRONG, 'a length in too many bytes')
        if opcode < CLOSE and len(self.message) + length > MESSAGE_LIMIT:
            raise Violation(TOO_BIG, 'a message of more than %d bytes' % MESSAGE_LIMIT)
        if opcode in (TEXT, BINARY):
            self.kind = opcode
            self.decoder = UTF8() if opcode == TEXT else None
        self.opcode, self.last, self.length, self.at = opcode, bool(first & 128), length, 0
        self.mask = data[at + 2 + extra:at + 6 + extra]
        return 6 + extra

    def take_payload(self, piece):
        self.at += len(piece)
        whole = self.at == self.length
        if self.opcode >= CLOSE:
            self.control += piece
            if whole:
                self.take_control()
            return
        if self.decoder is not None and piece:
            self.check(piece, False)
        self.message += piece
        if whole:
            self.opcode = None
            if self.last:
                self.take_message()

    def check(self, piece, last):
        try:
            self.decoder.decode(piece, last)
        except UnicodeDecodeError:
            raise Violation(NOT_UTF8, 'a text is not UTF-8')

    def take_message(self):
        kind, message = self.kind, self.message
        if kind == TEXT:
            self.check(b'', True)
        self.kind, self.message, self.decoder = None, bytearray(), None
        self.on_message(message.decode('utf-8') if kind == TEXT else bytes(message))

    def take_control(self):
        opcode, payload = self.opcode, self.control
        self.opcode, self.control = None, b''
        self.ended = opcode == CLOSE
        self.on_control(opcode, payload)


def close_code(payload):
    """Code and reason of a close frame."""
    if not payload:
        return NO_CODE, ''
    code = int.from_bytes(payload[:2], 'big')
    if len(payload) == 1 or not valid_code(code):
        raise Violation(WRONG, 'a close frame with a wrong code')
    try:
        return code, payload[2:].decode('utf-8')
    except UnicodeDecodeError:
        raise Violation(NOT_UTF8, 'a reason that is not UTF-8')
