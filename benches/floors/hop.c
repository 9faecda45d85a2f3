// How long a record takes through a stage: from just before it is written to a pipe until it has been read from the
// stage's stdout.
//
//   hop STREAM PREFIX RECORD INTERVAL_US LANE...
//
// STREAM is a file: PREFIX bytes that are sent at once, then records of RECORD bytes each, one every INTERVAL_US.
// A LANE is a command, or "" for a bare pipe without any stage. All lanes run side by side and take turns within each
// interval, so that every lane sees the same machine. Prints "lane latency_ns", a line for each record.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_LANES = 16, PIPE_BYTES = 4096 };

struct lane {
    int to, from;
    pid_t pid;
};

static long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static struct lane open_lane(const char *command) {
    struct lane lane = {.pid = 0};
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) < 0) fail("pipe");
    fcntl(in[1], F_SETPIPE_SZ, PIPE_BYTES);
    if (command[0] == 0) {
        lane.to = in[1];
        lane.from = in[0];
        return lane;
    }
    if (pipe2(out, O_CLOEXEC) < 0) fail("pipe");
    lane.pid = fork();
    if (lane.pid < 0) fail("fork");
    if (lane.pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        char line[4096];
        snprintf(line, sizeof line, "exec %s", command);
        execl("/bin/sh", "sh", "-c", line, (char *)NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    lane.to = in[1];
    lane.from = out[0];
    return lane;
}

// Reads exactly that many bytes; the writes of a stage need not match its reads.
static void read_all(int fd, size_t length) {
    static char bytes[65536];
    while (length > 0) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        if (poll(&ready, 1, 5000) == 0) {
            fprintf(stderr, "hop: a stage kept a record for more than 5 s\n");
            exit(1);
        }
        ssize_t got = read(fd, bytes, length < sizeof bytes ? length : sizeof bytes);
        if (got <= 0) {
            fprintf(stderr, "hop: a stage ended early\n");
            exit(1);
        }
        length -= got;
    }
}

static void write_all(int fd, const char *bytes, size_t length) {
    while (length > 0) {
        ssize_t wrote = write(fd, bytes, length);
        if (wrote < 0) fail("write");
        bytes += wrote;
        length -= wrote;
    }
}

// One record to each lane in turn, on absolute deadlines.
static void send_records(struct lane *lanes, int count, const char *records, long n, size_t length, long interval_us,
                         volatile long long *sent) {
    long long start = now_ns() + 20000000;
    long long slice = interval_us * 1000LL / count;
    for (long i = 0; i < n * count; i++) {
        long long due = start + i * slice;
        struct timespec at = {due / 1000000000LL, due % 1000000000LL};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
        sent[i] = now_ns();
        write_all(lanes[i % count].to, records + i / count * length, length);
    }
}

int main(int argc, char **argv) {
    if (argc < 6 || argc - 5 > MAX_LANES) {
        fprintf(stderr, "usage: hop STREAM PREFIX RECORD INTERVAL_US LANE...\n");
        return 2;
    }
    int file = open(argv[1], O_RDONLY | O_CLOEXEC);
    struct stat about;
    if (file < 0 || fstat(file, &about) < 0) fail(argv[1]);
    size_t prefix = atol(argv[2]), length = atol(argv[3]);
    long n = (about.st_size - prefix) / length;
    int count = argc - 5;
    char *stream = mmap(NULL, about.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, file, 0);
    volatile long long *sent = mmap(NULL, n * count * sizeof *sent, PROT_READ | PROT_WRITE,
                                    MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    long long *took = calloc(n * count, sizeof *took);
    if (stream == MAP_FAILED || sent == MAP_FAILED || took == NULL) fail("memory");

    struct lane lanes[MAX_LANES];
    for (int i = 0; i < count; i++) {
        lanes[i] = open_lane(argv[5 + i]);
        write_all(lanes[i].to, stream, prefix);
    }
    for (int i = 0; i < count; i++) read_all(lanes[i].from, prefix);

    pid_t sender = fork();
    if (sender == 0) {
        send_records(lanes, count, stream + prefix, n, length, atol(argv[4]), sent);
        _exit(0);
    }
    for (long i = 0; i < n * count; i++) {
        // A plain read, so that the harness adds one wake-up and no more.
        static char bytes[65536];
        ssize_t got = read(lanes[i % count].from, bytes, length);
        if (got <= 0) {
            fprintf(stderr, "hop: lane %ld ended early\n", i % count);
            return 1;
        }
        if ((size_t)got < length) read_all(lanes[i % count].from, length - got);
        took[i] = now_ns() - sent[i];
    }
    for (long i = 0; i < n * count; i++) printf("%ld %lld\n", i % count, took[i]);
    fflush(stdout);
    waitpid(sender, NULL, 0);
    for (int i = 0; i < count; i++) close(lanes[i].to), close(lanes[i].from);
    for (int i = 0; i < count; i++) if (lanes[i].pid > 0) waitpid(lanes[i].pid, NULL, 0);
}
