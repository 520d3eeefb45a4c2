/* A lamp for small boards: WAMP over RawSocket, in MessagePack, without heap.
 *
 * It registers lamp.set and lamp.get and publishes lamp.changed. Usage: lamp HOST PORT [REALM]
 *
 * Reading order: buffers and MessagePack, WAMP messages, the session, sockets, main.
 */
#define _POSIX_C_SOURCE 200809L

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* The router sends messages of at most 2^(9 + LENGTH_CODE) bytes. */
#ifndef LENGTH_CODE
#define LENGTH_CODE 0
#endif
#define MESSAGE_MAX (512u << LENGTH_CODE)

enum { HELLO = 1, WELCOME = 2, ABORT = 3, GOODBYE = 6, ERROR = 8, PUBLISH = 16, REGISTER = 64, REGISTERED = 65, INVOCATION = 68, YIELD = 70 };
enum { FRAME_MESSAGE = 0, FRAME_PING = 1, FRAME_PONG = 2 };
enum { MSGPACK = 2 };

/* ---------------------------------------------------------------- hardware */

static bool is_on;

/* Replace this by what switches your light. */
static void lamp_hardware(bool on) {
    printf("lamp %s\n", on ? "on" : "off");
    fflush(stdout);
}

/* ------------------------------------------------------- writing MessagePack */

/* A message being written. Our messages are short; one that does not fit is marked and never sent. */
struct out {
    uint8_t bytes[256];
    size_t len;
    bool overflow;
};

static void put_bytes(struct out *out, const void *bytes, size_t len) {
    if (len > sizeof out->bytes - out->len) {
        out->overflow = true;
        return;
    }
    memcpy(out->bytes + out->len, bytes, len);
    out->len += len;
}

static void put_byte(struct out *out, unsigned byte) {
    uint8_t b = (uint8_t)byte;
    put_bytes(out, &b, 1);
}

static void put_array(struct out *out, unsigned items) { put_byte(out, 0x90u | items); } /* up to 15 */

static void put_map(struct out *out, unsigned entries) { put_byte(out, 0x80u | entries); } /* up to 15 */

static void put_bool(struct out *out, bool value) { put_byte(out, value ? 0xc3 : 0xc2); }

static void put_uint(struct out *out, uint64_t value) {
    if (value < 128) {
        put_byte(out, (unsigned)value);
        return;
    }
    put_byte(out, 0xcf);
    for (int shift = 56; shift >= 0; shift -= 8) put_byte(out, (unsigned)(value >> shift) & 0xff);
}

static void put_text(struct out *out, const char *text) {
    size_t len = strlen(text);
    if (len < 32) {
        put_byte(out, 0xa0u | (unsigned)len);
    } else {
        put_byte(out, 0xd9);
        put_byte(out, len > 255 ? 255 : (unsigned)len); /* longer texts overflow the message anyway */
    }
    put_bytes(out, text, len);
}

/* ------------------------------------------------------- reading MessagePack */

/* A message being read. After the first error every further read fails too, so errors are looked at once, at the end. */
struct in {
    const uint8_t *at, *end;
    bool bad;
};

static const uint8_t *take(struct in *in, uint64_t len) {
    if (in->bad || len > (uint64_t)(in->end - in->at)) {
        in->bad = true;
        return NULL;
    }
    const uint8_t *bytes = in->at;
    in->at += len;
    return bytes;
}

static uint64_t take_number(struct in *in, unsigned len) {
    const uint8_t *bytes = take(in, len);
    uint64_t value = 0;
    for (unsigned i = 0; bytes && i < len; i++) value = value << 8 | bytes[i];
    return value;
}

static unsigned take_byte(struct in *in) { return (unsigned)take_number(in, 1); }

static uint64_t get_array(struct in *in) {
    unsigned byte = take_byte(in);
    if ((byte & 0xf0) == 0x90) return byte & 0x0f;
    if (byte == 0xdc) return take_number(in, 2);
    if (byte == 0xdd) return take_number(in, 4);
    in->bad = true;
    return 0;
}

static uint64_t get_map(struct in *in) {
    unsigned byte = take_byte(in);
    if ((byte & 0xf0) == 0x80) return byte & 0x0f;
    if (byte == 0xde) return take_number(in, 2);
    if (byte == 0xdf) return take_number(in, 4);
    in->bad = true;
    return 0;
}

static uint64_t get_uint(struct in *in) {
    unsigned byte = take_byte(in);
    if (byte < 0x80) return byte;
    if (byte >= 0xcc && byte <= 0xcf) return take_number(in, 1u << (byte - 0xcc));
    in->bad = true;
    return 0;
}

static const char *get_text(struct in *in, size_t *len) {
    unsigned byte = take_byte(in);
    uint64_t count = 0;
    if ((byte & 0xe0) == 0xa0) {
        count = byte & 0x1f;
    } else if (byte >= 0xd9 && byte <= 0xdb) {
        count = take_number(in, 1u << (byte - 0xd9));
    } else {
        in->bad = true;
    }
    const uint8_t *bytes = take(in, count);
    *len = bytes ? (size_t)count : 0;
    return (const char *)bytes;
}

/* Steps over one value. A counter of open items stands for recursion, so deep nesting costs no stack. */
static void skip(struct in *in) {
    uint64_t open = 1;
    while (open > 0 && !in->bad) {
        unsigned byte = take_byte(in);
        uint64_t items = 0;
        open--;
        if (byte < 0x80 || byte >= 0xe0 || (byte >= 0xc0 && byte <= 0xc3)) {
            /* small integers, nil, booleans: nothing follows; 0xc1 does not exist */
            if (byte == 0xc1) in->bad = true;
        } else if (byte <= 0x8f) {
            items = 2u * (byte & 0x0f);
        } else if (byte <= 0x9f) {
            items = byte & 0x0f;
        } else if (byte <= 0xbf) {
            take(in, byte & 0x1f);
        } else if (byte <= 0xc6) { /* bin */
            take(in, take_number(in, 1u << (byte - 0xc4)));
        } else if (byte <= 0xc9) { /* ext */
            take(in, take_number(in, 1u << (byte - 0xc7)) + 1);
        } else if (byte <= 0xcb) { /* float */
            take(in, byte == 0xca ? 4 : 8);
        } else if (byte <= 0xd3) { /* integers */
            take(in, 1u << (byte & 3));
        } else if (byte <= 0xd8) { /* fixext */
            take(in, (1u << (byte - 0xd4)) + 1);
        } else if (byte <= 0xdb) { /* str */
            take(in, take_number(in, 1u << (byte - 0xd9)));
        } else if (byte <= 0xdd) { /* array */
            items = take_number(in, byte == 0xdc ? 2 : 4);
        } else { /* map */
            items = 2 * take_number(in, byte == 0xde ? 2 : 4);
        }
        open += items;
    }
}

/* ---------------------------------------------------------------- sockets */

static int sock = -1;

static bool send_all(const void *bytes, size_t len) {
    const uint8_t *at = bytes;
    while (len > 0) {
        ssize_t sent = send(sock, at, len, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return false;
        at += sent;
        len -= (size_t)sent;
    }
    return true;
}

static bool receive_all(void *bytes, size_t len) {
    uint8_t *at = bytes;
    while (len > 0) {
        ssize_t got = recv(sock, at, len, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        at += got;
        len -= (size_t)got;
    }
    return true;
}

static bool connect_to(const char *host, uint16_t port) {
    struct sockaddr_in address = {0};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1) return false;
    sock = socket(AF_INET, SOCK_STREAM, 0);
    if (sock < 0) return false;
    int on = 1;
    setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(sock, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on); /* notices a router that vanished without a word */
    return connect(sock, (struct sockaddr *)&address, sizeof address) == 0;
}

/* ---------------------------------------------------------------- RawSocket */

static bool send_frame(unsigned kind, const void *body, size_t len) {
    uint8_t prefix[4] = {(uint8_t)kind, (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len};
    return send_all(prefix, sizeof prefix) && send_all(body, len);
}

static bool send_message(const struct out *out) { return !out->overflow && send_frame(FRAME_MESSAGE, out->bytes, out->len); }

/* Agrees with the router on MessagePack and on the length of messages. */
static bool handshake(void) {
    const uint8_t hello[4] = {0x7f, LENGTH_CODE << 4 | MSGPACK, 0, 0};
    uint8_t reply[4];
    if (!send_all(hello, sizeof hello) || !receive_all(reply, sizeof reply)) return false;
    return reply[0] == 0x7f && (reply[1] & 0x0f) == MSGPACK && reply[2] == 0 && reply[3] == 0;
}

/* Waits for the next WAMP message; answers PINGs meanwhile. */
static bool receive_message(struct in *in) {
    static uint8_t buffer[MESSAGE_MAX];
    for (;;) {
        uint8_t prefix[4];
        if (!receive_all(prefix, sizeof prefix)) return false;
        size_t len = (size_t)prefix[1] << 16 | (size_t)prefix[2] << 8 | prefix[3];
        if (prefix[0] > FRAME_PONG || len > sizeof buffer || !receive_all(buffer, len)) return false;
        if (prefix[0] == FRAME_PING && !send_frame(FRAME_PONG, buffer, len)) return false;
        if (prefix[0] == FRAME_MESSAGE) {
            *in = (struct in){buffer, buffer + len, false};
            return true;
        }
    }
}

/* ---------------------------------------------------------------- WAMP */

static uint64_t last_request, set_registration, get_registration;

static bool send_hello(const char *realm) {
    struct out out = {0};
    put_array(&out, 3);
    put_uint(&out, HELLO);
    put_text(&out, realm);
    put_map(&out, 2);
    put_text(&out, "agent");
    put_text(&out, "ringfort-lamp-c");
    put_text(&out, "roles");
    put_map(&out, 2);
    put_text(&out, "callee");
    put_map(&out, 0);
    put_text(&out, "publisher");
    put_map(&out, 0);
    return send_message(&out);
}

static bool send_register(const char *procedure) {
    struct out out = {0};
    put_array(&out, 4);
    put_uint(&out, REGISTER);
    put_uint(&out, ++last_request);
    put_map(&out, 0);
    put_text(&out, procedure);
    return send_message(&out);
}

static bool publish_changed(void) {
    struct out out = {0};
    put_array(&out, 5);
    put_uint(&out, PUBLISH);
    put_uint(&out, ++last_request);
    put_map(&out, 0);
    put_text(&out, "lamp.changed");
    put_array(&out, 1);
    put_bool(&out, is_on);
    return send_message(&out);
}

static bool send_yield(uint64_t invocation) {
    struct out out = {0};
    put_array(&out, 4);
    put_uint(&out, YIELD);
    put_uint(&out, invocation);
    put_map(&out, 0);
    put_array(&out, 1);
    put_bool(&out, is_on);
    return send_message(&out);
}

static bool send_invalid_argument(uint64_t invocation) {
    struct out out = {0};
    put_array(&out, 6);
    put_uint(&out, ERROR);
    put_uint(&out, INVOCATION);
    put_uint(&out, invocation);
    put_map(&out, 0);
    put_text(&out, "wamp.error.invalid_argument");
    put_array(&out, 1);
    put_text(&out, "lamp.set takes true or false, or on=true or on=false");
    return send_message(&out);
}

static bool send_goodbye(void) {
    struct out out = {0};
    put_array(&out, 3);
    put_uint(&out, GOODBYE);
    put_map(&out, 0);
    put_text(&out, "wamp.close.goodbye_and_out");
    return send_message(&out);
}

/* Looks for a boolean: the first of args, or "on" among kwargs. Returns 0 or 1, or -1 if there is none. */
static int get_wanted(struct in *in, uint64_t elements) {
    int wanted = -1;
    if (elements > 4) {
        uint64_t args = get_array(in);
        for (uint64_t i = 0; i < args && !in->bad; i++) {
            if (i == 0 && in->at < in->end && (*in->at == 0xc2 || *in->at == 0xc3)) wanted = *in->at == 0xc3;
            skip(in);
        }
    }
    if (elements > 5 && wanted < 0) {
        uint64_t entries = get_map(in);
        for (uint64_t i = 0; i < entries && !in->bad; i++) {
            size_t len;
            const char *key = get_text(in, &len);
            bool is_key = key && len == 2 && memcmp(key, "on", 2) == 0;
            if (is_key && in->at < in->end && (*in->at == 0xc2 || *in->at == 0xc3)) wanted = *in->at == 0xc3;
            skip(in);
        }
    }
    return in->bad ? -1 : wanted;
}

/* [INVOCATION, request, registration, details, args, kwargs] */
static bool on_invocation(struct in *in, uint64_t elements) {
    uint64_t invocation = get_uint(in);
    uint64_t registration = get_uint(in);
    skip(in);
    if (in->bad) return false;
    if (registration == get_registration) return send_yield(invocation);
    if (registration != set_registration) return send_invalid_argument(invocation);
    int wanted = get_wanted(in, elements);
    if (wanted < 0) return send_invalid_argument(invocation);
    if (is_on != (wanted == 1)) {
        is_on = wanted == 1;
        lamp_hardware(is_on);
        if (!publish_changed()) return false;
    }
    return send_yield(invocation);
}

/* Prints the reason of an ABORT, a GOODBYE or an ERROR. */
static void complain(struct in *in, unsigned values_before) {
    size_t len;
    for (unsigned i = 0; i < values_before; i++) skip(in);
    const char *reason = get_text(in, &len);
    if (!in->bad) fprintf(stderr, "lamp: the router says %.*s\n", (int)len, reason);
}

/* One session, from HELLO to its end. */
static void run_session(const char *realm) {
    struct in in;
    last_request = set_registration = get_registration = 0;
    if (!handshake() || !send_hello(realm)) return;
    while (receive_message(&in)) {
        uint64_t elements = get_array(&in);
        uint64_t code = get_uint(&in);
        if (in.bad) return;
        switch (code) {
        case WELCOME:
            if (!send_register("lamp.set") || !send_register("lamp.get")) return;
            break;
        case REGISTERED: {
            uint64_t request = get_uint(&in);
            uint64_t registration = get_uint(&in);
            if (in.bad) return;
            if (request == 1) set_registration = registration;
            if (request == 2) get_registration = registration;
            if (set_registration && get_registration) {
                puts("ready");
                fflush(stdout);
            }
            break;
        }
        case INVOCATION:
            if (!on_invocation(&in, elements)) return;
            break;
        case ERROR: /* of a REGISTER: somebody else is the lamp; perhaps our own old session, so try again later */
            complain(&in, 3);
            return;
        case ABORT:
            complain(&in, 1);
            return;
        case GOODBYE:
            complain(&in, 1);
            send_goodbye();
            return;
        default:
            break;
        }
    }
}

int main(int argc, char **argv) {
    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: lamp HOST PORT [REALM]\n");
        return 2;
    }
    const char *realm = argc > 3 ? argv[3] : "realm1";
    char *end;
    long port = strtol(argv[2], &end, 10);
    struct in_addr host;
    if (*end || port < 1 || port > 65535 || inet_pton(AF_INET, argv[1], &host) != 1 || strlen(realm) > 100) {
        fprintf(stderr, "lamp: HOST is an IPv4 address, PORT a number, REALM at most 100 characters\n");
        return 2;
    }
    unsigned pause_ms = 250;
    for (;;) {
        time_t start = time(NULL);
        if (connect_to(argv[1], (uint16_t)port)) run_session(realm);
        if (sock >= 0) close(sock);
        sock = -1;
        /* A session that lasted starts over with short pauses. */
        pause_ms = time(NULL) - start > 10 ? 250 : pause_ms * 2 > 15000 ? 15000 : pause_ms * 2;
        struct timespec pause = {pause_ms / 1000, (long)(pause_ms % 1000) * 1000000L};
        nanosleep(&pause, NULL);
    }
}
