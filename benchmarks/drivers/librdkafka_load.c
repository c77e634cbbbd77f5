/* Loads through librdkafka, as applications make them: bulk produce, bulk consume, end-to-end latency.
 *
 *   librdkafka_load produce BOOTSTRAP TOPIC PARTITIONS RECORDS BYTES CODEC ACKS PRODUCERS
 *   librdkafka_load consume BOOTSTRAP TOPIC PARTITIONS RECORDS
 *   librdkafka_load latency BOOTSTRAP TOPIC RATE SECONDS BYTES ACKS
 *
 * Each prints one line of JSON. Records hold a repeating text, so codecs have something to do but not nothing.
 */
#include <librdkafka/rdkafka.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void die(const char *what, const char *why) {
    fprintf(stderr, "%s: %s\n", what, why);
    exit(1);
}

static void set(rd_kafka_conf_t *conf, const char *name, const char *value) {
    char error[256];
    if (rd_kafka_conf_set(conf, name, value, error, sizeof error) != RD_KAFKA_CONF_OK) die(name, error);
}

static rd_kafka_t *client(rd_kafka_type_t type, rd_kafka_conf_t *conf) {
    char error[256];
    rd_kafka_t *rk = rd_kafka_new(type, conf, error, sizeof error);
    if (!rk) die("rd_kafka_new", error);
    return rk;
}

static void fill(char *payload, int bytes) {
    static const char text[] = "{\"id\":%08x,\"status\":\"paid\",\"amount\":\"129.90\",\"currency\":\"EUR\"} ";
    uint32_t state = 12345;
    int at = 0;
    while (at < bytes) {
        char piece[128];
        state = state * 1664525u + 1013904223u;
        int length = snprintf(piece, sizeof piece, text, state);
        if (length > bytes - at) length = bytes - at;
        memcpy(payload + at, piece, length);
        at += length;
    }
}

/* --- produce ---------------------------------------------------------------------------------------- */

struct producer {
    const char *bootstrap, *topic, *codec, *acks;
    long records;
    int bytes, first_partition, partitions;
    long delivered, failed;
};

static void delivered(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque) {
    struct producer *p = opaque;
    (void)rk;
    if (!message->err) p->delivered++;
    else if (!p->failed++) fprintf(stderr, "a record was refused: %s\n", rd_kafka_message_errstr(message));
}

static void *run_producer(void *argument) {
    struct producer *p = argument;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", p->bootstrap);
    set(conf, "compression.codec", p->codec);
    set(conf, "acks", p->acks);
    set(conf, "linger.ms", "5");
    set(conf, "batch.size", "1000000");
    set(conf, "batch.num.messages", "10000");
    set(conf, "queue.buffering.max.messages", "1000000");
    set(conf, "queue.buffering.max.kbytes", "1048576");
    rd_kafka_conf_set_opaque(conf, p);
    rd_kafka_conf_set_dr_msg_cb(conf, delivered);
    rd_kafka_t *rk = client(RD_KAFKA_PRODUCER, conf);
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, p->topic, NULL);
    enum { BATCH = 1000, VARIANTS = 64 };
    char *payloads = malloc((size_t)p->bytes * VARIANTS);
    fill(payloads, p->bytes * VARIANTS);
    rd_kafka_message_t batch[BATCH];
    long sent = 0;
    int partition = p->first_partition;
    while (sent < p->records) {
        int count = p->records - sent < BATCH ? (int)(p->records - sent) : BATCH;
        memset(batch, 0, sizeof batch);
        for (int i = 0; i < count; i++) {
            batch[i].payload = payloads + (size_t)((sent + i) % VARIANTS) * p->bytes;
            batch[i].len = p->bytes;
        }
        int accepted = rd_kafka_produce_batch(topic, partition, RD_KAFKA_MSG_F_COPY, batch, count);
        sent += accepted;
        rd_kafka_poll(rk, accepted < count ? 10 : 0);
        partition = (partition + 1) % p->partitions;
    }
    if (rd_kafka_flush(rk, 120000)) die("flush", "timed out");
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(rk);
    free(payloads);
    return NULL;
}

static int produce(char **a) {
    int producers = atoi(a[7]);
    struct producer p[16];
    pthread_t threads[16];
    if (producers > 16) die("PRODUCERS", "at most 16");
    double start = now();
    for (int i = 0; i < producers; i++) {
        p[i] = (struct producer){a[0], a[1], a[5], a[6], atol(a[3]) / producers, atoi(a[4]), i % atoi(a[2]), atoi(a[2]), 0, 0};
        pthread_create(&threads[i], NULL, run_producer, &p[i]);
    }
    long ok = 0, failed = 0;
    for (int i = 0; i < producers; i++) {
        pthread_join(threads[i], NULL);
        ok += p[i].delivered;
        failed += p[i].failed;
    }
    double seconds = now() - start;
    printf("{\"records\": %ld, \"failed\": %ld, \"seconds\": %.4f, \"bytes\": %ld}\n", ok, failed, seconds, ok * atol(a[4]));
    return failed ? 1 : 0;
}

/* --- consume ---------------------------------------------------------------------------------------- */

static int consume(char **a) {
    int partitions = atoi(a[2]);
    long wanted = atol(a[3]), got = 0, bytes = 0;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", a[0]);
    set(conf, "group.id", "bench");
    set(conf, "enable.auto.commit", "false");
    set(conf, "queued.min.messages", "1000000");
    set(conf, "queued.max.messages.kbytes", "262144");
    set(conf, "fetch.message.max.bytes", "4194304");
    set(conf, "fetch.wait.max.ms", "100");
    rd_kafka_t *rk = client(RD_KAFKA_CONSUMER, conf);
    rd_kafka_poll_set_consumer(rk);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(partitions);
    for (int i = 0; i < partitions; i++) rd_kafka_topic_partition_list_add(list, a[1], i)->offset = 0;
    double start = now();
    rd_kafka_assign(rk, list);
    rd_kafka_queue_t *queue = rd_kafka_queue_get_consumer(rk);
    rd_kafka_message_t *batch[1000];
    double last = start;
    while (got < wanted) {
        /* a batch call waits until it is full or its time is over: short, so that the end does not count */
        ssize_t count = rd_kafka_consume_batch_queue(queue, 20, batch, 1000);
        if (count < 0 || now() - last > 30) die("consume", "nothing for 30 s");
        if (count > 0) last = now();
        for (ssize_t i = 0; i < count; i++) {
            if (!batch[i]->err) {
                got++;
                bytes += batch[i]->len;
            }
            rd_kafka_message_destroy(batch[i]);
        }
    }
    double seconds = now() - start;
    printf("{\"records\": %ld, \"seconds\": %.4f, \"bytes\": %ld}\n", got, seconds, bytes);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_queue_destroy(queue);
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
    return 0;
}

/* --- latency ---------------------------------------------------------------------------------------- */

struct latency {
    rd_kafka_t *rk;
    rd_kafka_topic_t *topic;
    long rate, total;
    int bytes;
};

static void *send_steadily(void *argument) {
    struct latency *l = argument;
    char *payload = malloc(l->bytes);
    fill(payload, l->bytes);
    double start = now();
    for (long i = 0; i < l->total; i++) {
        double due = start + (double)i / l->rate, wait = due - now();
        if (wait > 0) {
            struct timespec t = {(time_t)wait, (long)((wait - (long)wait) * 1e9)};
            nanosleep(&t, NULL);
        }
        double stamp = now();
        memcpy(payload, &stamp, sizeof stamp);
        if (rd_kafka_produce(l->topic, 0, RD_KAFKA_MSG_F_COPY, payload, l->bytes, NULL, 0, NULL)) die("produce", "queue full");
        rd_kafka_poll(l->rk, 0);
    }
    rd_kafka_flush(l->rk, 30000);
    free(payload);
    return NULL;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static int latency(char **a) {
    struct latency l = {NULL, NULL, atol(a[2]), atol(a[2]) * atol(a[3]), atoi(a[4])};
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", a[0]);
    set(conf, "acks", a[5]);
    set(conf, "linger.ms", "0");
    l.rk = client(RD_KAFKA_PRODUCER, conf);
    l.topic = rd_kafka_topic_new(l.rk, a[1], NULL);
    conf = rd_kafka_conf_new();
    set(conf, "bootstrap.servers", a[0]);
    set(conf, "group.id", "bench");
    set(conf, "enable.auto.commit", "false");
    set(conf, "fetch.wait.max.ms", "500");
    set(conf, "fetch.min.bytes", "1");
    rd_kafka_t *consumer = client(RD_KAFKA_CONSUMER, conf);
    rd_kafka_poll_set_consumer(consumer);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, a[1], 0)->offset = RD_KAFKA_OFFSET_END;
    rd_kafka_assign(consumer, list);
    for (double until = now() + 2; now() < until;) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, 100);
        if (message) rd_kafka_message_destroy(message);
    }
    pthread_t thread;
    pthread_create(&thread, NULL, send_steadily, &l);
    double *took = malloc(sizeof(double) * l.total);
    long got = 0;
    while (got < l.total) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(consumer, 10000);
        if (!message) die("latency", "nothing for 10 s");
        if (!message->err) {
            double stamp;
            memcpy(&stamp, message->payload, sizeof stamp);
            took[got++] = now() - stamp;
        }
        rd_kafka_message_destroy(message);
    }
    pthread_join(thread, NULL);
    long skip = l.total / 10; /* the first tenth warms connections and caches */
    qsort(took + skip, got - skip, sizeof(double), by_value);
    long n = got - skip;
    printf("{\"records\": %ld, \"p50_ms\": %.4f, \"p99_ms\": %.4f, \"p999_ms\": %.4f, \"max_ms\": %.4f}\n", got,
           1e3 * took[skip + n / 2], 1e3 * took[skip + n * 99 / 100], 1e3 * took[skip + n * 999 / 1000], 1e3 * took[got - 1]);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_consumer_close(consumer);
    rd_kafka_destroy(consumer);
    rd_kafka_topic_destroy(l.topic);
    rd_kafka_destroy(l.rk);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 10 && !strcmp(argv[1], "produce")) return produce(argv + 2);
    if (argc == 6 && !strcmp(argv[1], "consume")) return consume(argv + 2);
    if (argc == 8 && !strcmp(argv[1], "latency")) return latency(argv + 2);
    die("usage", "see the top of librdkafka_load.c");
}
