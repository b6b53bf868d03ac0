/*
 * Estimates pi: the share of random points of a square that fall into its quarter circle.
 *
 *     pi [DIRECTORY]
 *
 * UDOCKER_TASK_ID (0 without one) chooses the random numbers, PI_SAMPLES how many points there are.
 * The work is split among child processes.  The result is one line on standard output, and in
 * DIRECTORY/TASK.txt where a directory is given.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHILDREN 4
#define BATCH (1u << 20)
#define DEFAULT_SAMPLES 200000000u

struct point {
	double x, y;
};

static void fail(const char *what)
{
	fprintf(stderr, "pi: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* A linear congruential generator modulo 2^64; its high bits are the good ones. */
static double draw(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (double)(*state >> 11) / (double)(UINT64_C(1) << 53);
}

static uint64_t count_hits(uint64_t seed, uint64_t samples)
{
	struct point *points = malloc(BATCH * sizeof *points);
	uint64_t state = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
	uint64_t hits = 0;

	if (!points)
		fail("memory");
	while (samples) {
		uint64_t batch = samples < BATCH ? samples : BATCH;

		for (uint64_t i = 0; i < batch; i++) {
			points[i].x = draw(&state);
			points[i].y = draw(&state);
		}
		for (uint64_t i = 0; i < batch; i++)
			hits += points[i].x * points[i].x + points[i].y * points[i].y < 1.0;
		samples -= batch;
	}
	free(points);
	return hits;
}

/* Children write one number each; so few bytes to a pipe are never mixed (pipe(7), PIPE_BUF). */
static void start_child(int sink, uint64_t seed, uint64_t samples)
{
	pid_t child = fork();

	if (child < 0)
		fail("fork");
	if (child == 0) {
		uint64_t hits = count_hits(seed, samples);

		_exit(write(sink, &hits, sizeof hits) == (ssize_t)sizeof hits ? 0 : 1);
	}
}

static uint64_t count_in_children(uint64_t task, uint64_t samples)
{
	uint64_t hits, total = 0;
	int ends[2], status;

	if (pipe(ends))
		fail("pipe");
	for (unsigned i = 0; i < CHILDREN; i++)
		start_child(ends[1], task * CHILDREN + i, samples / CHILDREN);
	close(ends[1]);
	while (read(ends[0], &hits, sizeof hits) == (ssize_t)sizeof hits)
		total += hits;
	close(ends[0]);
	while (wait(&status) > 0) {
		if (status) {
			fprintf(stderr, "pi: a child process failed\n");
			exit(1);
		}
	}
	return total;
}

static uint64_t number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);
	char *end;
	uint64_t value;

	if (!text || !*text)
		return otherwise;
	errno = 0;
	value = strtoull(text, &end, 10);
	if (errno || *end) {
		fprintf(stderr, "pi: %s=%s: not a number\n", name, text);
		exit(1);
	}
	return value;
}

static void save(const char *directory, uint64_t task, const char *line)
{
	char path[4096];
	FILE *file;

	if (snprintf(path, sizeof path, "%s/%" PRIu64 ".txt", directory, task) >= (int)sizeof path) {
		errno = ENAMETOOLONG;
		fail(directory);
	}
	file = fopen(path, "w");
	if (!file)
		fail(path);
	if (fputs(line, file) == EOF)
		fail(path);
	if (fclose(file))
		fail(path);
}

int main(int argc, char **argv)
{
	uint64_t task = number("UDOCKER_TASK_ID", 0);
	uint64_t samples = number("PI_SAMPLES", DEFAULT_SAMPLES) / CHILDREN * CHILDREN;
	char line[128];

	if (samples == 0) {
		fprintf(stderr, "pi: PI_SAMPLES: at least %d are needed\n", CHILDREN);
		return 1;
	}
	snprintf(line, sizeof line, "task %" PRIu64 ": pi is about %.6f after %" PRIu64 " points\n", task,
		 4.0 * (double)count_in_children(task, samples) / (double)samples, samples);
	fputs(line, stdout);
	if (argc > 1)
		save(argv[1], task, line);
	return fflush(stdout) ? 1 : 0;
}
