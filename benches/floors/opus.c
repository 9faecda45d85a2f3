// The least that encoding to Opus can cost: a loop over libopus. Linked with the libopus that the stages are built
// with, so that only what is around it differs.
//
//   opus WAV BITRATE COMPLEXITY
//
// WAV holds 16-bit mono at 48 kHz behind a header of 44 bytes. 20 ms frames, VoIP, constrained VBR. Prints the number
// of packets and of their bytes.
#include <stdio.h>
#include <stdlib.h>

// From opus.h, which a Rust build of libopus does not always leave behind.
typedef struct OpusEncoder OpusEncoder;
OpusEncoder *opus_encoder_create(int rate, int channels, int application, int *error);
int opus_encoder_ctl(OpusEncoder *encoder, int request, ...);
int opus_encode(OpusEncoder *encoder, const short *pcm, int frame, unsigned char *data, int max_bytes);
enum { VOIP = 2048, SET_BITRATE = 4002, SET_VBR = 4006, SET_COMPLEXITY = 4010, SET_VBR_CONSTRAINT = 4020 };

enum { HEADER = 44, FRAME = 960, MAX_PACKET = 1275 };

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "usage: opus WAV BITRATE COMPLEXITY\n");
        return 2;
    }
    FILE *wav = fopen(argv[1], "rb");
    int error;
    OpusEncoder *encoder = opus_encoder_create(48000, 1, VOIP, &error);
    if (wav == NULL || encoder == NULL || fseek(wav, HEADER, SEEK_SET) < 0) return 1;
    static char buffer[65536];
    setvbuf(wav, buffer, _IOFBF, sizeof buffer);
    opus_encoder_ctl(encoder, SET_BITRATE, atoi(argv[2]));
    opus_encoder_ctl(encoder, SET_COMPLEXITY, atoi(argv[3]));
    opus_encoder_ctl(encoder, SET_VBR, 1);
    opus_encoder_ctl(encoder, SET_VBR_CONSTRAINT, 1);
    short pcm[FRAME];
    unsigned char packet[MAX_PACKET];
    long packets = 0, bytes = 0;
    while (fread(pcm, sizeof *pcm, FRAME, wav) == FRAME) {
        int length = opus_encode(encoder, pcm, FRAME, packet, sizeof packet);
        if (length < 0) return 1;
        packets++;
        bytes += length;
    }
    printf("%ld %ld\n", packets, bytes);
}
