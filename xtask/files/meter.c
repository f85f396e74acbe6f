/*
 * Measures a virtual machine monitor (VMM) from outside, on a Linux host with KVM: what
 * `cargo xtask bench kvm` runs there. Prints one line of NAME=VALUE pairs.
 *
 *   meter boot MARKER MIB COMMAND...   from exec until MARKER is on its output; MIB: guest RAM
 *   meter exit COMMAND...              of a guest that does nothing but write to its serial port
 *   meter follow MARKER COMMAND...     shows all it says, with counters behind lines with MARKER
 *
 * boot:
 *   seconds   from fork to the marker
 *   user      milliseconds of the whole machine in user mode without guest time, and
 *   system    in the kernel: of /proc/stat, for the user time of a process is scaled and its guest
 *             time is not, so their difference is no time at all. Nothing else runs meanwhile.
 *   own       KiB resident without the mapping of the guest's RAM, the largest one
 *   exits     from the guest to the kernel, and
 *   mmio      those of them that went on to user space as an access to a device
 * exit:
 *   calls     system calls of all threads for each 100 MMIO exits, while it runs freely
 *   steps     instructions of the vCPU's thread from one KVM_RUN to the next, and
 *   stepcalls system calls among them, both for each 100 exits: counted by single-stepping it
 * follow:
 *   busy      milliseconds of the whole machine without guest time, as user and system above
 *   mmio      as above
 *   rings     exits for an access to a device that the kernel answered itself
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <linux/elf.h>
#include <asm/ptrace.h>
#include <time.h>
#include <unistd.h>

#define DEBUG_FS "/sys/kernel/debug"
#define TRIGGER DEBUG_FS "/tracing/events/raw_syscalls/sys_enter"
/* So many exits are stepped through. */
#define STEPPED 4
/* Free running, in seconds. */
#define WARM_UP 2
#define COUNTED 3

static pid_t vmm;

static void die(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	fprintf(stderr, "meter: ");
	vfprintf(stderr, format, arguments);
	fprintf(stderr, ": %s\n", strerror(errno));
	if (vmm > 0)
		kill(vmm, SIGKILL);
	exit(1);
}

static double now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static int start(char **command)
{
	int ends[2];
	if (pipe(ends))
		die("pipe");
	vmm = fork();
	if (vmm < 0)
		die("fork");
	if (vmm == 0) {
		/* Whoever is tired of waiting ends us both. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(ends[1], 1);
		close(ends[0]);
		close(ends[1]);
		execvp(command[0], command);
		_exit(127);
	}
	close(ends[1]);
	return ends[0];
}

static void stop(void)
{
	pid_t ended;
	kill(vmm, SIGKILL);
	/* Its end is told when that of a thread that we traced is known. */
	do
		ended = waitpid(-1, NULL, __WALL);
	while (ended > 0 && ended != vmm);
}

struct times {
	long long user, system;
};

/* In milliseconds. The kernel counts hundredths of a second there. */
static struct times machine_times(void)
{
	long long user, nice, system, idle, wait, irq, softirq, steal, guest, guest_nice;
	FILE *file = fopen("/proc/stat", "r");
	if (!file || fscanf(file, "cpu %lld %lld %lld %lld %lld %lld %lld %lld %lld %lld", &user, &nice,
			    &system, &idle, &wait, &irq, &softirq, &steal, &guest, &guest_nice) != 10)
		die("/proc/stat");
	fclose(file);
	return (struct times){ (user + nice - guest - guest_nice) * 10, (system + irq + softirq) * 10 };
}

/* A counter of the VMM's one virtual machine. */
static long long kvm_counter(const char *name)
{
	char prefix[32], path[512];
	long long value = -1;
	struct dirent *entry;
	DIR *directory = opendir(DEBUG_FS "/kvm");
	if (!directory)
		die(DEBUG_FS "/kvm");
	int length = snprintf(prefix, sizeof prefix, "%d-", vmm);
	while ((entry = readdir(directory))) {
		if (strncmp(entry->d_name, prefix, length))
			continue;
		snprintf(path, sizeof path, DEBUG_FS "/kvm/%s/%s", entry->d_name, name);
		FILE *file = fopen(path, "r");
		if (!file || fscanf(file, "%lld", &value) != 1)
			die("%s", path);
		fclose(file);
	}
	closedir(directory);
	if (value < 0)
		die("no virtual machine");
	return value;
}

static long long own_memory(long long guest_kib)
{
	char path[64], line[512];
	long long size = 0, largest = 0, resident, guest_resident = 0, total = 0;
	snprintf(path, sizeof path, "/proc/%d/smaps", vmm);
	FILE *file = fopen(path, "r");
	if (!file)
		die("%s", path);
	while (fgets(line, sizeof line, file)) {
		sscanf(line, "Size: %lld", &size);
		if (sscanf(line, "Rss: %lld", &resident) != 1)
			continue;
		total += resident;
		if (size > largest) {
			largest = size;
			guest_resident = resident;
		}
	}
	fclose(file);
	errno = ENOENT;
	if (largest < guest_kib)
		die("no mapping of the guest's RAM");
	return total - guest_resident;
}

static void boot(const char *marker, long long guest_mib, char **command)
{
	static char seen[1 << 20];
	size_t length = 0;
	struct times before = machine_times();
	double began = now();
	int output = start(command);
	while (!memmem(seen, length, marker, strlen(marker))) {
		if (length == sizeof seen)
			length = 0;
		ssize_t count = read(output, seen + length, sizeof seen - length);
		errno = count == 0 ? EPIPE : errno;
		if (count <= 0)
			die("no %s came from %s, but: %.*s", marker, command[0], (int)length, seen);
		length += count;
	}
	double seconds = now() - began;
	struct times after = machine_times();
	kill(vmm, SIGSTOP);
	printf("METER seconds=%.3f user=%lld system=%lld own=%lld exits=%lld mmio=%lld\n", seconds,
	       after.user - before.user, after.system - before.system, own_memory(guest_mib << 10),
	       kvm_counter("exits"), kvm_counter("mmio_exit_user"));
	stop();
}

static void write_file(const char *path, const char *text)
{
	int file = open(path, O_WRONLY);
	if (file < 0 || write(file, text, strlen(text)) < 0)
		die("%s", path);
	close(file);
}

/* System calls of everybody but us since the trigger was set. */
static long long calls_counted(void)
{
	char line[256];
	long long hits = -1;
	FILE *file = fopen(TRIGGER "/hist", "r");
	if (!file)
		die(TRIGGER "/hist");
	while (fgets(line, sizeof line, file))
		sscanf(line, " Hits: %lld", &hits);
	fclose(file);
	if (hits < 0)
		die("no hits in " TRIGGER "/hist");
	return hits;
}

/* The thread that has used most time runs the vCPU. */
static pid_t busiest_thread(void)
{
	char path[512];
	unsigned long long most = 0, run;
	pid_t found = 0;
	struct dirent *entry;
	snprintf(path, sizeof path, "/proc/%d/task", vmm);
	DIR *directory = opendir(path);
	if (!directory)
		die("%s", path);
	while ((entry = readdir(directory))) {
		snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", vmm, entry->d_name);
		FILE *file = fopen(path, "r");
		if (!file)
			continue;
		if (fscanf(file, "%llu", &run) == 1 && run > most) {
			most = run;
			found = atoi(entry->d_name);
		}
		fclose(file);
	}
	closedir(directory);
	return found;
}

static void wait_for_stop(pid_t thread)
{
	int status;
	if (waitpid(thread, &status, __WALL) != thread || !WIFSTOPPED(status)) {
		errno = ECHILD;
		die("the vCPU's thread ended");
	}
}

static const long ioctl_number = 29, kvm_run = 0xae80;
static const unsigned int svc_0 = 0xd4000001;

static void step_through(pid_t thread)
{
	long long steps = 0, calls = 0;
	int exits = -1;
	if (ptrace(PTRACE_SEIZE, thread, 0, 0) || ptrace(PTRACE_INTERRUPT, thread, 0, 0))
		die("ptrace");
	wait_for_stop(thread);
	while (exits < STEPPED) {
		struct user_pt_regs regs;
		struct iovec into = { &regs, sizeof regs };
		if (ptrace(PTRACE_GETREGSET, thread, NT_PRSTATUS, &into))
			die("PTRACE_GETREGSET");
		unsigned int instruction = ptrace(PTRACE_PEEKTEXT, thread, regs.pc, 0);
		if (instruction == svc_0) {
			calls++;
			if (regs.regs[8] == ioctl_number && regs.regs[1] == kvm_run && ++exits == 0)
				steps = calls = 0;
		}
		steps++;
		if (ptrace(PTRACE_SINGLESTEP, thread, 0, 0))
			die("PTRACE_SINGLESTEP");
		wait_for_stop(thread);
	}
	printf(" steps=%lld stepcalls=%lld\n", steps * 100 / STEPPED, calls * 100 / STEPPED);
}

static void exit_costs(char **command)
{
	char trigger[80] = "!";
	int output = start(command);
	/* Somebody has to read what the guest says. */
	pid_t reader = fork();
	if (reader == 0) {
		static char dump[1 << 16];
		while (read(output, dump, sizeof dump) > 0)
			;
		_exit(0);
	}
	sleep(WARM_UP);
	snprintf(trigger + 1, sizeof trigger - 1, "hist:keys=id if common_pid != %d && common_pid != %d",
		 getpid(), reader);
	long long before = kvm_counter("mmio_exit_user");
	write_file(TRIGGER "/trigger", trigger + 1);
	sleep(COUNTED);
	long long calls = calls_counted();
	long long exits = kvm_counter("mmio_exit_user") - before;
	write_file(TRIGGER "/trigger", trigger);
	errno = EAGAIN;
	if (exits < 100)
		die("the guest made %lld exits only", exits);
	printf("METER calls=%lld", calls * 100 / exits);
	fflush(stdout);
	step_through(busiest_thread());
	stop();
}

/* Ends as the machine does. */
static int follow(const char *marker, char **command)
{
	char *line = NULL;
	size_t room = 0;
	int status;
	FILE *lines = fdopen(start(command), "r");
	if (!lines)
		die("fdopen");
	while (getline(&line, &room, lines) > 0) {
		fputs(line, stdout);
		if (!strncmp(line, marker, strlen(marker))) {
			struct times times = machine_times();
			printf("METER busy=%lld mmio=%lld rings=%lld\n", times.user + times.system,
			       kvm_counter("mmio_exit_user"), kvm_counter("mmio_exit_kernel"));
		}
		fflush(stdout);
	}
	if (waitpid(vmm, &status, 0) != vmm)
		die("waitpid");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

int main(int count, char **words)
{
	mount("debugfs", DEBUG_FS, "debugfs", 0, NULL);
	mount("tracefs", DEBUG_FS "/tracing", "tracefs", 0, NULL);
	if (count > 4 && !strcmp(words[1], "boot"))
		boot(words[2], atoll(words[3]), words + 4);
	else if (count > 2 && !strcmp(words[1], "exit"))
		exit_costs(words + 2);
	else if (count > 3 && !strcmp(words[1], "follow"))
		return follow(words[2], words + 3);
	else {
		fprintf(stderr, "usage: meter boot MARKER MIB COMMAND... | meter exit COMMAND... | "
				"meter follow MARKER COMMAND...\n");
		return 2;
	}
	return 0;
}
