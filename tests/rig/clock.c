/* A clock that runs too fast or too slow: for a sound card that drifts.
 *
 *     cc -shared -fPIC -o clock.so clock.c && PPM=300 LD_PRELOAD=./clock.so pulseaudio ...
 *
 * CLOCK_MONOTONIC runs PPM parts in a million fast from the first look on. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

int clock_gettime(clockid_t clock, struct timespec *time) {
    static long long first;
    static double share;
    if (syscall(SYS_clock_gettime, clock, time) != 0) return -1;
    if (clock != CLOCK_MONOTONIC) return 0;
    long long now = time->tv_sec * SECOND + time->tv_nsec;
    if (!first) {
        const char *ppm = getenv("PPM");
        share = ppm ? atof(ppm) * 1e-6 : 0;
        first = now;
    }
    now += (long long)((now - first) * share);
    time->tv_sec = now / SECOND;
    time->tv_nsec = now % SECOND;
    return 0;
}
