// The least that a stage can do: what it reads it writes, one write a read.
#include <unistd.h>

int main(void) {
    static char bytes[65536];
    ssize_t got;
    while ((got = read(0, bytes, sizeof bytes)) > 0) {
        for (ssize_t done = 0; done < got;) {
            ssize_t wrote = write(1, bytes + done, got - done);
            if (wrote <= 0) return 1;
            done += wrote;
        }
    }
    return got < 0;
}
