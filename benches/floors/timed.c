// Runs a pipeline and says what each of its stages cost.
//
//   timed RUNS COMMAND [ARG...] [:: COMMAND [ARG...]]...
//
// "::" stands for the pipe between two stages. The pipeline inherits stdin and stdout; with RUNS above 1 it is run
// that often and stdin is rewound before each run. For every stage of every run a line goes to file descriptor 3:
//
//   run stage wall_ns user_us sys_us peak_rss_kib wait_status
//
// It is written in C because Linux counts the memory of the process that forked towards the peak of its child:
// started from an interpreter, every stage would seem to need the interpreter's memory.
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MAX_STAGES = 16 };

static long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static pid_t start(char **command, int input, int output) {
    pid_t pid = fork();
    if (pid < 0) fail("fork");
    if (pid > 0) return pid;
    if (input != 0) dup2(input, 0);
    if (output != 1) dup2(output, 1);
    execvp(command[0], command);
    perror(command[0]);
    _exit(127);
}

static void run_once(int run, char ***stages, int count) {
    pid_t pids[MAX_STAGES];
    int input = 0;
    long long began = now_ns();
    for (int i = 0; i < count; i++) {
        int ends[2] = {-1, 1};
        if (i + 1 < count && pipe2(ends, O_CLOEXEC) < 0) fail("pipe");
        pids[i] = start(stages[i], input, ends[1]);
        if (input != 0) close(input);
        if (ends[1] != 1) close(ends[1]);
        input = ends[0];
    }
    for (int left = count; left > 0; left--) {
        int status;
        struct rusage used;
        pid_t pid = wait4(-1, &status, 0, &used);
        if (pid < 0) fail("wait4");
        long long wall = now_ns() - began;
        for (int i = 0; i < count; i++) {
            if (pids[i] != pid) continue;
            dprintf(3, "%d %d %lld %lld %lld %ld %d\n", run, i, wall,
                    used.ru_utime.tv_sec * 1000000LL + used.ru_utime.tv_usec,
                    used.ru_stime.tv_sec * 1000000LL + used.ru_stime.tv_usec, used.ru_maxrss, status);
        }
    }
}

int main(int argc, char **argv) {
    if (argc < 3) {
        fprintf(stderr, "usage: timed RUNS COMMAND [ARG...] [:: COMMAND [ARG...]]...\n");
        return 2;
    }
    char **stages[MAX_STAGES] = {argv + 2};
    int count = 1;
    for (int i = 3; i < argc; i++) {
        if (strcmp(argv[i], "::") != 0) continue;
        if (count == MAX_STAGES) return 2;
        argv[i] = NULL;
        stages[count++] = argv + i + 1;
    }
    fcntl(3, F_SETFD, FD_CLOEXEC);
    for (int run = 0; run < atoi(argv[1]); run++) {
        lseek(0, 0, SEEK_SET);
        run_once(run, stages, count);
    }
}
