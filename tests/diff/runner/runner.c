// The oracle's half of the differential test: a program without a C library that runs a few
// instructions on the CPU it finds itself on, from a given state, and tells the state after them.
//
// Batches come on standard input and results go to standard output; ../src/oracle.rs has the
// other end of the protocol, ../src/state.rs the layout of a state, ../src/place.rs the addresses.
//
// A batch is a program (one instruction, or a short sequence) and many states to run it from: new
// code costs an emulator a translation, new states cost next to nothing. The program stands in a
// slot at a fixed address, followed by a branch to `leave`. Whatever does not get there ends in a
// signal, also a branch out of the slot: all around it is either filled with BRK or not mapped,
// so the signal's PC tells where the branch went.

typedef unsigned char u8;
typedef unsigned int u32;
typedef unsigned long u64;

#define CODE 0x50000000ul
#define CODE_BYTES 0x10000ul
#define SLOT (CODE + 0x8000)
#define PAGES 0x50020000ul
#define PAGES_BYTES 0x2000ul
#define WINDOW (PAGES + 0xe00)
#define WINDOW_BYTES 0x400ul

#define MAGIC 0x46464944544c4d41ul
#define MOST_CASES 512
#define MOST_WORDS 64
#define USES_MEMORY 1

#define SIGILL 4
#define SIGTRAP 5
#define SIGBUS 7
#define SIGSEGV 11
#define SIGALRM 14

struct state {
    u64 x[31], sp, pc, nzcv, fpcr, fpsr, kind, address, tpidr, unused;
    u8 v[512];
} __attribute__((aligned(16)));

struct header {
    u64 magic, words, cases, flags;
    u32 word[MOST_WORDS];
};

// The frame of a signal, as the kernel lays it out.
struct context {
    u64 before[22];
    u64 fault_address, x[31], sp, pc, pstate, align;
    u32 fp_magic, fp_size, fpsr, fpcr;
    u8 v[512];
} __attribute__((aligned(16)));

struct state result;
static struct header header;
static struct state in[MOST_CASES];
static u8 window[WINDOW_BYTES] __attribute__((aligned(16)));
static u8 results[MOST_CASES * (sizeof result + WINDOW_BYTES)] __attribute__((aligned(16)));
static u8 stack[65536] __attribute__((aligned(16)));
static volatile int running;

void enter(const struct state *in);
extern const u8 leave[], restore[];

static long call(long number, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
    register u64 x0 __asm__("x0") = a;
    register u64 x1 __asm__("x1") = b;
    register u64 x2 __asm__("x2") = c;
    register u64 x3 __asm__("x3") = d;
    register u64 x4 __asm__("x4") = e;
    register u64 x5 __asm__("x5") = f;
    register long x8 __asm__("x8") = number;
    __asm__ volatile("svc #0"
                     : "+r"(x0)
                     : "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5), "r"(x8)
                     : "memory");
    return (long)x0;
}

static void quit(int status)
{
    for (;;)
        call(93, (u64)status, 0, 0, 0, 0, 0);
}

void *memcpy(void *to, const void *from, u64 bytes)
{
    u8 *t = to;
    const u8 *f = from;
    for (u64 i = 0; i < bytes; i++)
        t[i] = f[i];
    return to;
}

static void copy16(void *to, const void *from, u64 bytes)
{
    typedef u64 pair __attribute__((vector_size(16), may_alias));
    pair *t = to;
    const pair *f = from;
    for (u64 i = 0; i < bytes / 16; i++)
        t[i] = f[i];
}

static void get(void *to, u64 bytes)
{
    for (u64 done = 0; done < bytes;) {
        long n = call(63, 0, (u64)to + done, bytes - done, 0, 0, 0);
        if (n <= 0)
            quit(n == 0 && done == 0 ? 0 : 2);
        done += (u64)n;
    }
}

static void put(const void *from, u64 bytes)
{
    for (u64 done = 0; done < bytes;) {
        long n = call(64, 1, (u64)from + done, bytes - done, 0, 0, 0);
        if (n <= 0)
            quit(3);
        done += (u64)n;
    }
}

static void on_signal(int number, const void *info, struct context *c)
{
    (void)info;
    if (!running) {
        if (number == SIGALRM)
            return;
        quit(4);
    }
    for (int i = 0; i < 31; i++)
        result.x[i] = c->x[i];
    result.sp = c->sp;
    result.pc = c->pc;
    result.nzcv = c->pstate & 0xf0000000ul;
    result.fpcr = c->fpcr;
    result.fpsr = c->fpsr;
    result.kind = (u64)number;
    result.address = c->fault_address;
    memcpy(result.v, c->v, sizeof result.v);
    c->pc = (u64)restore;
}

static void map(u64 at, u64 bytes, u64 prot)
{
    // MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS
    if ((u64)call(222, at, bytes, prot, 0x32, (u64)-1, 0) != at)
        quit(5);
}

static void catch_signals(void)
{
    struct { u64 base, flags, bytes; } alternate = { (u64)stack, 0, sizeof stack };
    call(132, (u64)&alternate, 0, 0, 0, 0, 0);
    // SA_SIGINFO, SA_ONSTACK
    struct { u64 handler, flags, restorer, mask; } action = { (u64)on_signal, 0x08000004, 0, 0 };
    const int numbers[] = { SIGILL, SIGTRAP, SIGBUS, SIGSEGV, SIGALRM };
    for (int i = 0; i < 5; i++)
        call(134, (u64)numbers[i], (u64)&action, 0, 8, 0, 0);
}

// An alarm ends what would not end by itself.
static void set_alarm(u64 seconds)
{
    u64 timer[4] = { 0, 0, seconds, 0 };
    call(103, 0, (u64)timer, 0, 0, 0, 0);
}

static void write_code(void)
{
    volatile u32 *slot = (volatile u32 *)SLOT;
    u64 n = header.words;
    for (u64 i = 0; i < n; i++)
        slot[i] = header.word[i];
    slot[n] = 0x14000000u | (((u64)leave - (SLOT + 4 * n)) >> 2 & 0x3ffffff);
    for (u64 i = n + 1; i <= MOST_WORDS; i++)
        slot[i] = 0xd4200000u;
    for (u64 at = SLOT; at < SLOT + 4 * (MOST_WORDS + 1); at += 4)
        __asm__ volatile("dc cvau, %0" ::"r"(at) : "memory");
    __asm__ volatile("dsb ish" ::: "memory");
    for (u64 at = SLOT; at < SLOT + 4 * (MOST_WORDS + 1); at += 4)
        __asm__ volatile("ic ivau, %0" ::"r"(at) : "memory");
    __asm__ volatile("dsb ish; isb" ::: "memory");
}

// The window's contents continued over both pages.
static void fill_pages(void)
{
    for (u64 at = PAGES; at < PAGES + PAGES_BYTES; at += 0x200)
        copy16((void *)at, window + (at - WINDOW) % WINDOW_BYTES, 0x200);
}

static void batch(void)
{
    int memory = (header.flags & USES_MEMORY) != 0;
    if (memory) {
        get(window, sizeof window);
        fill_pages();
    }
    get(in, header.cases * sizeof in[0]);
    write_code();
    u8 *to = results;
    set_alarm(20);
    for (u64 i = 0; i < header.cases; i++) {
        if (memory)
            copy16((void *)WINDOW, window, sizeof window);
        result.kind = 0;
        result.address = 0;
        result.pc = SLOT + 4 * header.words;
        running = 1;
        enter(&in[i]);
        running = 0;
        copy16(to, &result, sizeof result);
        to += sizeof result;
        if (memory) {
            copy16(to, (void *)WINDOW, WINDOW_BYTES);
            to += WINDOW_BYTES;
            // A store that faults may have been done in part, near the ends of the pages.
            if (result.kind)
                fill_pages();
        }
    }
    set_alarm(0);
    put(results, (u64)(to - results));
    if (memory)
        put((void *)PAGES, PAGES_BYTES);
}

void run(void)
{
    map(CODE, CODE_BYTES, 7);
    map(PAGES, PAGES_BYTES, 3);
    for (u64 i = 0; i < CODE_BYTES / 4; i++)
        ((volatile u32 *)CODE)[i] = 0xd4200000u;
    catch_signals();
    for (;;) {
        get(&header, sizeof header);
        if (header.magic != MAGIC || header.words > MOST_WORDS || header.cases > MOST_CASES)
            quit(6);
        batch();
    }
}
