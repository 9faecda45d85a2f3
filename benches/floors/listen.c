// The least that listening can cost through ALSA: packets are decoded as they come and written to the default device.
// No jitter buffer, nothing that follows a clock, nothing that conceals. Linked with the libopus that the stages are built
// with.
//
//   listen PORT [null]
//
// Hears RTP with Opus on that UDP port of 127.0.0.1, without extensions, until it is ended. With `null` what is decoded
// goes nowhere.
#include <alsa/asoundlib.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

// From opus.h, which a Rust build of libopus does not always leave behind.
typedef struct OpusDecoder OpusDecoder;
OpusDecoder *opus_decoder_create(int rate, int channels, int *error);
int opus_decode_float(OpusDecoder *decoder, const unsigned char *data, int bytes, float *pcm, int frames, int fec);

enum { RATE = 48000, CHANNELS = 2, MOST_FRAMES = 5760, RTP_HEADER = 12, ROOM_US = 100000 };

static snd_pcm_t *loudspeaker(void)
{
    snd_pcm_t *pcm;
    if (snd_pcm_open(&pcm, "default", SND_PCM_STREAM_PLAYBACK, 0) < 0 ||
        snd_pcm_set_params(pcm, SND_PCM_FORMAT_FLOAT_LE, SND_PCM_ACCESS_RW_INTERLEAVED, CHANNELS, RATE, 0, ROOM_US) < 0) {
        fprintf(stderr, "listen: no loudspeaker\n");
        exit(1);
    }
    return pcm;
}

int main(int argc, char **argv)
{
    if (argc < 2) {
        fprintf(stderr, "usage: listen PORT [null]\n");
        return 2;
    }
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int udp = socket(AF_INET, SOCK_DGRAM, 0);
    if (udp < 0 || bind(udp, (struct sockaddr *)&address, sizeof address) < 0) {
        perror("listen");
        return 1;
    }
    int error;
    OpusDecoder *decoder = opus_decoder_create(RATE, CHANNELS, &error);
    snd_pcm_t *pcm = argc > 2 ? NULL : loudspeaker();
    static float samples[MOST_FRAMES * CHANNELS];
    unsigned char packet[2048];
    for (;;) {
        int bytes = recv(udp, packet, sizeof packet, 0);
        if (bytes <= RTP_HEADER)
            continue;
        int frames =
            opus_decode_float(decoder, packet + RTP_HEADER, bytes - RTP_HEADER, samples, MOST_FRAMES, 0);
        if (frames <= 0 || !pcm)
            continue;
        long written = snd_pcm_writei(pcm, samples, frames);
        if (written < 0)
            snd_pcm_recover(pcm, written, 1);
    }
}
