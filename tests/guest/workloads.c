// Guest workloads of `cargo xtask bench soft`: a fixed amount of work each, with a checksum that
// every machine must agree on. Usage: workloads NAME... Each prints
//     ARMLET-BEGIN NAME
//     ARMLET-WORK NAME SECONDS CHECKSUM
// SECONDS is the guest's monotonic clock, which follows the host's.
//
// Compiled for plain Armv8.0-A, so that no machine's extra instructions matter.

#define _GNU_SOURCE
#include <arm_neon.h>
#include <math.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

// Exactly INTEGER_ITERATIONS * 8 instructions, so that time gives instructions per second.
// `xtask/src/bench` knows the product.
#define INTEGER_ITERATIONS 60000000u

static uint64_t integer(void) {
    uint64_t n = INTEGER_ITERATIONS, a = 1, b = 2, c = 3;
    __asm__ volatile(
        "1: add %1, %1, %2\n"
        "   eor %2, %2, %1, ror #13\n"
        "   sub %3, %3, %2\n"
        "   orr %1, %1, %3, lsr #7\n"
        "   and %2, %2, %1, lsl #3\n"
        "   madd %3, %3, %1, %2\n"
        "   subs %0, %0, #1\n"
        "   b.ne 1b\n"
        : "+r"(n), "+r"(a), "+r"(b), "+r"(c) : : "cc");
    return a ^ b ^ c;
}

static uint32_t sha_round_constant[64];

// The constants of FIPS 180-4: fractional parts of cube roots of the first 64 primes, in integers.
static void make_sha_constants(void) {
    int found = 0;
    for (uint64_t p = 2; found < 64; p++) {
        int prime = 1;
        for (uint64_t d = 2; d * d <= p; d++) prime &= p % d != 0;
        if (!prime) continue;
        // The largest r with r^3 <= p * 2^96 is the cube root times 2^32.
        uint64_t r = 0;
        for (int bit = 35; bit >= 0; bit--) {
            unsigned __int128 t = r | (uint64_t)1 << bit;
            if (t * t <= ((unsigned __int128)p << 96) / t) r = (uint64_t)t;
        }
        sha_round_constant[found++] = (uint32_t)r;
    }
}

static uint32_t rotate(uint32_t x, int by) { return x >> by | x << (32 - by); }

static void sha_block(uint32_t h[8], const uint8_t *data) {
    uint32_t w[64], v[8];
    for (int i = 0; i < 16; i++) {
        memcpy(&w[i], data + 4 * i, 4);
        w[i] = __builtin_bswap32(w[i]);
    }
    for (int i = 16; i < 64; i++) {
        uint32_t x = w[i - 15], y = w[i - 2];
        w[i] = w[i - 16] + (rotate(x, 7) ^ rotate(x, 18) ^ x >> 3) + w[i - 7] +
               (rotate(y, 17) ^ rotate(y, 19) ^ y >> 10);
    }
    memcpy(v, h, sizeof v);
    for (int i = 0; i < 64; i++) {
        uint32_t e = v[4], a = v[0];
        uint32_t t1 = v[7] + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) +
                      ((e & v[5]) ^ (~e & v[6])) + sha_round_constant[i] + w[i];
        uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) +
                      ((a & v[1]) ^ (a & v[2]) ^ (v[1] & v[2]));
        memmove(v + 1, v, 7 * sizeof *v);
        v[4] += t1;
        v[0] = t1 + t2;
    }
    for (int i = 0; i < 8; i++) h[i] += v[i];
}

static uint64_t sha256(void) {
    static uint8_t data[65536];
    uint32_t h[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                     0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    make_sha_constants();
    for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 7 + 3);
    for (int round = 0; round < 40; round++)
        for (size_t i = 0; i < sizeof data; i += 64) sha_block(h, data + i);
    return (uint64_t)h[0] << 32 | h[7];
}

static uint64_t copy(void) {
    enum { SIZE = 8 << 20 };
    uint8_t *from = malloc(SIZE), *to = malloc(SIZE);
    if (!from || !to) abort();
    for (size_t i = 0; i < SIZE; i++) from[i] = (uint8_t)(i >> 8);
    for (int round = 0; round < 200; round++) {
        memcpy(to, from, SIZE);
        from[round] = to[SIZE - 1 - round];
    }
    uint64_t sum = 0;
    for (size_t i = 0; i < SIZE; i += 4096) sum = sum * 31 + to[i];
    free(from);
    free(to);
    return sum;
}

static uint64_t floating(void) {
    // Two bodies on an orbit: add, multiply, divide and square root, all exactly rounded.
    double x = 1, y = 0, vx = 0, vy = 1;
    for (int i = 0; i < 1000000; i++) {
        double r2 = x * x + y * y, r = sqrt(r2), a = -1.0 / (r2 * r);
        vx += a * x * 0.001;
        vy += a * y * 0.001;
        x += vx * 0.001;
        y += vy * 0.001;
    }
    uint64_t bits;
    memcpy(&bits, &x, 8);
    return bits;
}

static uint64_t simd(void) {
    enum { COUNT = 8192 };
    static float x[COUNT], y[COUNT];
    static uint8_t p[COUNT], q[COUNT];
    for (int i = 0; i < COUNT; i++) x[i] = (float)i, p[i] = (uint8_t)(i * 5), q[i] = (uint8_t)(i * 3);
    uint32x4_t sums = vdupq_n_u32(0);
    for (int round = 0; round < 3000; round++) {
        for (int i = 0; i < COUNT; i += 4)
            vst1q_f32(y + i, vfmaq_n_f32(vmulq_n_f32(vld1q_f32(y + i), 0.5f), vld1q_f32(x + i), 0.25f));
        for (int i = 0; i < COUNT; i += 16) {
            uint8x16_t d = vabdq_u8(vld1q_u8(p + i), vqaddq_u8(vld1q_u8(q + i), vdupq_n_u8((uint8_t)round)));
            sums = vpadalq_u16(sums, vpaddlq_u8(d));
        }
    }
    uint32_t last;
    memcpy(&last, y + COUNT - 1, 4);
    return (uint64_t)vaddvq_u32(sums) << 32 | last;
}

static uint64_t syscalls(void) {
    uint64_t sum = 0;
    for (int i = 0; i < 100000; i++) sum += syscall(SYS_getppid) >= 0;
    return sum;
}

static uint64_t faults(void) {
    enum { SIZE = 32 << 20 };
    uint64_t sum = 0;
    for (int round = 0; round < 2; round++) {
        uint8_t *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (memory == MAP_FAILED) abort();
        // Small pages, or the count would depend on the kernel's mood.
        madvise(memory, SIZE, MADV_NOHUGEPAGE);
        for (size_t i = 0; i < SIZE; i += 4096) sum += memory[i]++ + 1u;
        munmap(memory, SIZE);
    }
    return sum;
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static uint64_t shared;

static void *locker(void *unused) {
    (void)unused;
    for (int i = 0; i < 150000; i++) {
        pthread_mutex_lock(&mutex);
        shared++;
        pthread_mutex_unlock(&mutex);
    }
    return NULL;
}

static uint64_t lock(void) {
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) if (pthread_create(&threads[i], NULL, locker, NULL)) abort();
    for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
    return shared;
}

static const struct {
    const char *name;
    uint64_t (*run)(void);
} workloads[] = {
    {"integer", integer}, {"sha256", sha256},     {"copy", copy},     {"floating", floating},
    {"simd", simd},       {"syscalls", syscalls}, {"faults", faults}, {"lock", lock},
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++)
        for (size_t w = 0; w < sizeof workloads / sizeof *workloads; w++)
            if (!strcmp(argv[i], workloads[w].name)) {
                printf("ARMLET-BEGIN %s\n", argv[i]);
                double start = now();
                uint64_t checksum = workloads[w].run();
                printf("ARMLET-WORK %s %.3f %016llx\n", argv[i], now() - start,
                       (unsigned long long)checksum);
            }
    return 0;
}
