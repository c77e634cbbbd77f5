/* Small requests as fast as they go: single-record Produce v7, acks=1, over many connections.
 *
 *   raw_load HOST PORT TOPIC PARTITIONS CONNECTIONS IN_FLIGHT SECONDS BYTES
 *
 * Prints one line of JSON with requests answered, seconds and latency percentiles. One thread, epoll.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static uint32_t crc_table[256];

static uint32_t crc32c(const uint8_t *data, size_t length) {
    if (!crc_table[1])
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i;
            for (int k = 0; k < 8; k++) c = c & 1 ? 0x82F63B78u ^ (c >> 1) : c >> 1;
            crc_table[i] = c;
        }
    uint32_t crc = ~0u;
    while (length--) crc = crc_table[(crc ^ *data++) & 0xff] ^ (crc >> 8);
    return ~crc;
}

static uint8_t *at;
static void i8(int v) { *at++ = v; }
static void i16(int v) { i8(v >> 8), i8(v); }
static void i32(uint32_t v) { i16(v >> 16), i16(v); }
static void i64(uint64_t v) { i32(v >> 32), i32(v); }
static void text(const char *s) { i16(strlen(s)), memcpy(at, s, strlen(s)), at += strlen(s); }
static void varint(int64_t v) {
    uint64_t u = ((uint64_t)v << 1) ^ (v >> 63);
    for (; u >= 0x80; u >>= 7) i8((int)(u | 0x80) & 0xff);
    i8((int)u);
}
static int varint_size(int64_t v) {
    uint64_t u = ((uint64_t)v << 1) ^ (v >> 63);
    int n = 1;
    for (; u >= 0x80; u >>= 7) n++;
    return n;
}

/* A whole Produce v7 frame; the correlation id stands at byte 8. */
static int build(uint8_t *frame, const char *topic, int partition, int bytes) {
    uint8_t *size_at = frame, *records_at, *batch_at, *length_at, *crc_at;
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    uint64_t ms = t.tv_sec * 1000ull + t.tv_nsec / 1000000;
    at = frame + 4;
    i16(0), i16(7), i32(0), text("raw-load");
    i16(-1), i16(1), i32(30000), i32(1), text(topic), i32(1), i32(partition);
    records_at = at, at += 4, batch_at = at;
    i64(0), length_at = at, at += 4, i32(-1), i8(2), crc_at = at, at += 4;
    i16(0), i32(0), i64(ms), i64(ms), i64(-1), i16(-1), i32(-1), i32(1);
    int record = 1 + 1 + 1 + varint_size(-1) + varint_size(bytes) + bytes + 1;
    varint(record), i8(0), varint(0), varint(0), varint(-1), varint(bytes);
    memset(at, 'x', bytes), at += bytes, varint(0);
    uint8_t *end = at;
    at = length_at, i32(end - batch_at - 12);
    at = records_at, i32(end - batch_at);
    at = crc_at, i32(crc32c(crc_at + 4, end - crc_at - 4));
    at = size_at, i32(end - frame - 4);
    return end - frame;
}

struct connection {
    int fd, length, in_flight;
    uint8_t frame[8192], input[65536];
    int filled;
    double sent[64];
    unsigned head, tail;
};

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return x < y ? -1 : x > y;
}

int main(int argc, char **argv) {
    if (argc != 9) {
        fprintf(stderr, "usage: see the top of raw_load.c\n");
        return 2;
    }
    int partitions = atoi(argv[4]), count = atoi(argv[5]), depth = atoi(argv[6]), bytes = atoi(argv[8]);
    if (depth > 64 || bytes > 4096) return 2;
    double seconds = atof(argv[7]);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[2]))};
    inet_pton(AF_INET, argv[1], &address.sin_addr);
    struct connection *all = calloc(count, sizeof *all);
    int epoll = epoll_create1(0);
    for (int i = 0; i < count; i++) {
        struct connection *c = &all[i];
        c->fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(c->fd, (void *)&address, sizeof address)) die("connect");
        int one = 1;
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        c->length = build(c->frame, argv[3], i % partitions, bytes);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
        epoll_ctl(epoll, EPOLL_CTL_ADD, c->fd, &event);
    }
    static uint8_t burst[64 * 8192];
    size_t kept = 0, room = 1 << 22;
    float *took = malloc(room * sizeof *took);
    long answered = 0;
    double start = now(), stop = start + seconds, clock = start;
    for (int i = 0; i < count; i++) {
        struct connection *c = &all[i];
        for (int k = 0; k < depth; k++) memcpy(burst + k * c->length, c->frame, c->length), c->sent[c->tail++ % 64] = clock;
        if (write(c->fd, burst, c->length * depth) < 0) die("write");
        c->in_flight = depth;
    }
    int open = count;
    while (open) {
        struct epoll_event events[256];
        int ready = epoll_wait(epoll, events, 256, 10000);
        if (ready <= 0) {
            fprintf(stderr, "no answer for 10 s\n");
            return 1;
        }
        clock = now();
        for (int e = 0; e < ready; e++) {
            struct connection *c = events[e].data.ptr;
            ssize_t n = read(c->fd, c->input + c->filled, sizeof c->input - c->filled);
            if (n <= 0) die("read");
            c->filled += n;
            int pos = 0, answers = 0;
            while (c->filled - pos >= 4) {
                uint32_t size;
                memcpy(&size, c->input + pos, 4), size = ntohl(size);
                if (c->filled - pos < (int)size + 4) break;
                /* size, correlation, topics, name length, name, partitions, index: then the error code */
                int name = ntohs(*(uint16_t *)(c->input + pos + 12));
                if (*(uint16_t *)(c->input + pos + 14 + name + 8)) {
                    fprintf(stderr, "error %d\n", ntohs(*(uint16_t *)(c->input + pos + 14 + name + 8)));
                    return 1;
                }
                pos += size + 4, answers++;
                if (kept < room) took[kept++] = clock - c->sent[c->head % 64];
                c->head++;
            }
            memmove(c->input, c->input + pos, c->filled - pos), c->filled -= pos;
            answered += answers, c->in_flight -= answers;
            if (clock < stop) {
                for (int k = 0; k < answers; k++) memcpy(burst + k * c->length, c->frame, c->length), c->sent[c->tail++ % 64] = clock;
                if (answers && write(c->fd, burst, c->length * answers) < 0) die("write");
                c->in_flight += answers;
            } else if (!c->in_flight) {
                close(c->fd), open--;
            }
        }
    }
    qsort(took, kept, sizeof *took, by_value);
    printf("{\"requests\": %ld, \"seconds\": %.4f, \"p50_ms\": %.4f, \"p99_ms\": %.4f}\n", answered, now() - start,
           1e3 * took[kept / 2], 1e3 * took[kept * 99 / 100]);
    return 0;
}
