/* Forwarding RTP over UDP on loopback: the bare loop, and what stands at its ends.
 *
 *   relay loop PORT FANOUT FIRST_OUT                 recvfrom + sendto, until 1 s after the last packet
 *   relay send PORT PACKETS_PER_S SECONDS STREAMS    RTP of 160 bytes from STREAMS sources in turn, every ms what is due
 *   relay count FIRST PORTS                          counts what arrives, until 2 s after the last packet
 *
 * `loop` and `count` print how many packets they saw. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define MAX_PORTS 256
#define PAYLOAD 160
#define HEADER 12

static struct sockaddr_in at(int port) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port)};
    name.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return name;
}

static int bound(int port) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0), size = 4 << 20;
    struct sockaddr_in name = at(port);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size);
    if (bind(fd, (void *)&name, sizeof name)) {
        perror("bind");
        exit(1);
    }
    return fd;
}

static int loop(int port, int fanout, int first) {
    int fd = bound(port);
    struct timeval second = {1, 0}, minute = {60, 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &minute, sizeof minute);
    struct sockaddr_in to[MAX_PORTS];
    for (int i = 0; i < fanout; i++) to[i] = at(first + i);
    char packet[2048];
    long seen = 0;
    for (;;) {
        struct sockaddr_in from;
        socklen_t length = sizeof from;
        ssize_t got = recvfrom(fd, packet, sizeof packet, 0, (void *)&from, &length);
        if (got < 0) break;
        if (seen++ == 0) setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &second, sizeof second);
        for (int i = 0; i < fanout; i++) sendto(fd, packet, got, 0, (void *)&to[i], sizeof to[i]);
    }
    printf("%ld\n", seen);
    return 0;
}

static int send_rtp(int port, long rate, long seconds, int streams) {
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in to = at(port);
    connect(fd, (void *)&to, sizeof to);
    unsigned char packet[HEADER + PAYLOAD] = {0x80, 0};
    memset(packet + HEADER, 0x55, PAYLOAD);
    struct timespec began;
    clock_gettime(CLOCK_MONOTONIC, &began);
    long total = rate * seconds, sent = 0;
    for (long ms = 0; sent < total; ms++) {
        struct timespec due = {began.tv_sec + ms / 1000, began.tv_nsec + ms % 1000 * 1000000};
        if (due.tv_nsec >= 1000000000) due.tv_sec++, due.tv_nsec -= 1000000000;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
        for (long until = (ms + 1) * rate / 1000; sent < until && sent < total; sent++) {
            unsigned number = sent / streams, stream = sent % streams, timestamp = number * PAYLOAD;
            unsigned words[2] = {htonl(timestamp), htonl(0x10000 + stream)};
            packet[2] = number >> 8, packet[3] = number;
            memcpy(packet + 4, words, sizeof words);
            send(fd, packet, sizeof packet, 0);
        }
    }
    printf("%ld\n", sent);
    return 0;
}

static int count(int first, int ports) {
    struct pollfd fds[MAX_PORTS];
    for (int i = 0; i < ports; i++) fds[i] = (struct pollfd){bound(first + i), POLLIN, 0};
    char packet[2048];
    long seen = 0;
    while (poll(fds, ports, seen ? 2000 : 60000) > 0)
        for (int i = 0; i < ports; i++)
            while (fds[i].revents && recv(fds[i].fd, packet, sizeof packet, MSG_DONTWAIT) > 0) seen++;
    printf("%ld\n", seen);
    return 0;
}

int main(int argc, char **argv) {
    if (argc == 5 && !strcmp(argv[1], "loop") && atoi(argv[3]) <= MAX_PORTS)
        return loop(atoi(argv[2]), atoi(argv[3]), atoi(argv[4]));
    if (argc == 6 && !strcmp(argv[1], "send"))
        return send_rtp(atoi(argv[2]), atol(argv[3]), atol(argv[4]), atoi(argv[5]));
    if (argc == 4 && !strcmp(argv[1], "count") && atoi(argv[3]) <= MAX_PORTS) return count(atoi(argv[2]), atoi(argv[3]));
    fprintf(stderr, "usage: relay loop PORT FANOUT FIRST_OUT | send PORT RATE SECONDS STREAMS | count FIRST PORTS\n");
    return 2;
}
