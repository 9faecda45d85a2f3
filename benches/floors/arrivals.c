// When packets arrive, by the kernel's clock.
//
//   arrivals PACKETS TIMEOUT_S PORT...
//
// Listens on those UDP ports of 127.0.0.1 until each has had PACKETS packets, or the time is over. Prints "ready" when
// it listens, then "port arrival_ns bytes" for each packet.
#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

enum { MAX_PORTS = 16 };

struct arrival {
    int port, bytes;
    long long ns;
};

static long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int listen_on(int port) {
    int on = 1, fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_port = htons(port)};
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
    if (bind(fd, (struct sockaddr *)&here, sizeof here) < 0) {
        perror("bind");
        exit(1);
    }
    return fd;
}

static struct arrival receive(int fd, int port) {
    char bytes[65536], control[256];
    struct iovec place = {bytes, sizeof bytes};
    struct msghdr message = {
        .msg_iov = &place, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    struct arrival arrival = {.port = port, .bytes = recvmsg(fd, &message, 0)};
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_TIMESTAMPNS) continue;
        struct timespec t;
        memcpy(&t, CMSG_DATA(c), sizeof t);
        arrival.ns = t.tv_sec * 1000000000LL + t.tv_nsec;
    }
    return arrival;
}

int main(int argc, char **argv) {
    int ports = argc - 3;
    if (ports < 1 || ports > MAX_PORTS) {
        fprintf(stderr, "usage: arrivals PACKETS TIMEOUT_S PORT...\n");
        return 2;
    }
    long wanted = atol(argv[1]), got[MAX_PORTS] = {0}, total = 0;
    struct pollfd sockets[MAX_PORTS];
    struct arrival *log = calloc(wanted * ports, sizeof *log);
    for (int i = 0; i < ports; i++) sockets[i] = (struct pollfd){.fd = listen_on(atoi(argv[3 + i])), .events = POLLIN};
    printf("ready\n");
    fflush(stdout);
    long long until = now_ns() + atol(argv[2]) * 1000000000LL;
    while (total < wanted * ports && now_ns() < until) {
        if (poll(sockets, ports, 100) <= 0) continue;
        for (int i = 0; i < ports; i++) {
            if (!(sockets[i].revents & POLLIN)) continue;
            struct arrival arrival = receive(sockets[i].fd, atoi(argv[3 + i]));
            if (got[i]++ < wanted) log[total++] = arrival;
        }
    }
    for (long i = 0; i < total; i++) printf("%d %lld %d\n", log[i].port, log[i].ns, log[i].bytes);
}
