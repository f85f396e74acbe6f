// Writes that must survive a power cut, and the look at what did.
//
//     armlet-durable write HOW PATH [COUNT]   writes records, forever or COUNT of them
//     armlet-durable check HOW PATH           says which are there
//
// Records are numbered from 1. After each one that is on the disk for certain, `write` prints
//     ARMLET-ACK N
// and it goes on after those that `check` would find. HOW is
//     fsync   one file that grows, fsync after each record
//     dsync   the same with O_DSYNC
//     ring    one file of SLOTS records that are overwritten in turn, fdatasync after each; PATH may be
//             a disk
//     files   PATH is a directory: a new file for each record, renamed into place; the file and then
//             the directory are synchronized
// `check` prints the first and the last record found, how many there are, and how many places hold
// something else than a whole record (in a ring: the newest records, one for each slot):
//     ARMLET-RECORDS FIRST LAST COUNT TORN
// A record that was being written at the power cut may be there, torn, or not. It is the last one, so
// that the test is: FIRST = 1 (or what a ring has left), COUNT = LAST - FIRST + 1, and LAST at least the
// last N acknowledged. Whatever is torn but that last record is an error: `check` ends with status 1.

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WORDS 512 // a record is 4 KiB
#define SLOTS 256
#define MAGIC 0x7461726c6d726163u

typedef struct {
    uint64_t words[WORDS];
} record;

typedef enum { FSYNC, DSYNC, RING, FILES } how;

static const char *const NAMES[] = {"fsync", "dsync", "ring", "files"};

static void fail(const char *what) {
    printf("ARMLET-FAIL %s: %s\n", what, strerror(errno));
    exit(2);
}

// Every word depends on the number, so that no part of another record passes for one of this.
static record record_of(uint64_t number) {
    record r;
    uint64_t state = number * 0x9e3779b97f4a7c15u;
    for (int i = 0; i < WORDS; i++) {
        state ^= state >> 12, state ^= state << 25, state ^= state >> 27;
        r.words[i] = state * 0x2545f4914f6cdd1du;
    }
    r.words[0] = MAGIC;
    r.words[1] = number;
    return r;
}

typedef enum { EMPTY, WHOLE, TORN } verdict;

static verdict judge(const record *r, uint64_t *number) {
    static const record empty;
    if (!memcmp(r, &empty, sizeof empty)) return EMPTY;
    record wanted = record_of(r->words[1]);
    *number = r->words[1];
    return memcmp(r, &wanted, sizeof wanted) ? TORN : WHOLE;
}

typedef struct {
    uint64_t first, last, count, torn;
    int wrong; // something that no power cut explains
} findings;

static void found(findings *f, uint64_t number) {
    if (!f->count || number < f->first) f->first = number;
    if (number > f->last) f->last = number;
    f->count++;
}

static findings look_in_file(how h, const char *path) {
    findings f = {0};
    int fd = open(path, O_RDONLY);
    if (fd < 0 && errno == ENOENT) return f;
    if (fd < 0) fail(path);
    record r;
    uint64_t torn_at = 0;
    for (uint64_t place = 0; h != RING || place < SLOTS; place++) {
        memset(&r, 0, sizeof r);
        ssize_t size = pread(fd, &r, sizeof r, place * sizeof r);
        if (size < 0) fail("pread");
        if (size == 0) break;
        uint64_t number = 0;
        verdict v = judge(&r, &number);
        if (v == WHOLE) {
            // A record in another's place was written nowhere.
            if (h == RING ? number % SLOTS != place : number != place + 1) f.wrong = 1;
            found(&f, number);
        } else if (v == TORN || h != RING) {
            f.torn++, torn_at = place + 1;
        }
    }
    close(fd);
    // Only the newest record may be torn: in a ring the one over the oldest, else the one at the end.
    if (f.torn > 1 || (f.torn && torn_at != (h == RING ? (f.last + 1) % SLOTS : f.last) + 1)) f.wrong = 1;
    return f;
}

static findings look_in_directory(const char *path) {
    findings f = {0};
    for (uint64_t number = 1;; number++) {
        char name[4096];
        snprintf(name, sizeof name, "%s/%08llu", path, (unsigned long long)number);
        int fd = open(name, O_RDONLY);
        if (fd < 0 && errno == ENOENT) return f;
        if (fd < 0) fail(name);
        record r;
        uint64_t seen = 0;
        // The name came after the content: a record with a name is whole.
        if (read(fd, &r, sizeof r) == sizeof r && judge(&r, &seen) == WHOLE && seen == number)
            found(&f, number);
        else
            f.torn++, f.wrong = 1;
        close(fd);
    }
}

static findings look(how h, const char *path) {
    findings f = h == FILES ? look_in_directory(path) : look_in_file(h, path);
    if (f.count && f.count != f.last - f.first + 1) f.wrong = 1;
    if (f.count && h != RING && f.first != 1) f.wrong = 1;
    return f;
}

static void put(int fd, const record *r, uint64_t at) {
    if (pwrite(fd, r, sizeof *r, at) != sizeof *r) fail("pwrite");
}

static void write_file(int directory, const char *path, const record *r) {
    char name[4096], partial[4096];
    snprintf(name, sizeof name, "%s/%08llu", path, (unsigned long long)r->words[1]);
    snprintf(partial, sizeof partial, "%s/partial", path);
    int fd = open(partial, O_CREAT | O_TRUNC | O_WRONLY, 0600);
    if (fd < 0) fail(partial);
    put(fd, r, 0);
    if (fsync(fd) || close(fd) || rename(partial, name) || fsync(directory)) fail(name);
}

static void write_all(how h, const char *path, uint64_t number, uint64_t last) {
    int fd;
    if (h == FILES) {
        if (mkdir(path, 0700) && errno != EEXIST) fail(path);
        fd = open(path, O_RDONLY | O_DIRECTORY);
    } else {
        fd = open(path, O_CREAT | O_RDWR | (h == DSYNC ? O_DSYNC : 0), 0600);
    }
    if (fd < 0) fail(path);
    // The name of a new file must be there too; `files` sees to that for each of its own.
    sync();
    for (; number <= last; number++) {
        record r = record_of(number);
        switch (h) {
        case FSYNC:
            put(fd, &r, (number - 1) * sizeof r);
            if (fsync(fd)) fail("fsync");
            break;
        case DSYNC:
            put(fd, &r, (number - 1) * sizeof r);
            break;
        case RING:
            put(fd, &r, number % SLOTS * sizeof r);
            if (fdatasync(fd)) fail("fdatasync");
            break;
        case FILES:
            write_file(fd, path, &r);
            break;
        }
        printf("ARMLET-ACK %llu\n", (unsigned long long)number);
    }
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    int h = FSYNC;
    while (argc >= 4 && h <= FILES && strcmp(argv[2], NAMES[h])) h++;
    int writes = argc >= 4 && !strcmp(argv[1], "write");
    if (argc < 4 || h > FILES || (!writes && strcmp(argv[1], "check"))) {
        fprintf(stderr, "usage: %s write|check fsync|dsync|ring|files PATH [COUNT]\n", argv[0]);
        return 2;
    }
    findings f = look(h, argv[3]);
    if (writes) {
        write_all(h, argv[3], f.last + 1, argc > 4 ? f.last + strtoull(argv[4], NULL, 10) : UINT64_MAX);
        return 0;
    }
    printf("ARMLET-RECORDS %llu %llu %llu %llu\n", (unsigned long long)f.first,
           (unsigned long long)f.last, (unsigned long long)f.count, (unsigned long long)f.torn);
    return f.wrong;
}
