/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fuzz_NAME FILE...: gives each file to the target, as a test of its own; without libFuzzer. */
#include "fuzz.h"

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max)
{
	(void)data;
	(void)max;
	return size;
}

static bool run(const char *path)
{
	FILE *from = fopen(path, "rb");
	uint8_t *bytes = NULL;
	size_t size = 0, n = 1;

	for (; from && n; size += n) {
		bytes = realloc(bytes, size + 65536);
		HOLDS(bytes);
		n = fread(bytes + size, 1, 65536, from);
	}
	if (!from || ferror(from) || fclose(from))
		return false;
	uint8_t *exact = malloc(size + !size); /* so that what reads behind its end is seen */

	HOLDS(exact);
	memcpy(exact, bytes, size);
	free(bytes);
	LLVMFuzzerTestOneInput(exact, size);
	free(exact);
	return true;
}

int main(int argc, char **argv)
{
	int failed = 0;

	for (int i = 1; i < argc; i++) {
		bool ok = run(argv[i]);

		failed += !ok;
		printf("%s %d - %s\n", ok ? "ok" : "not ok", i, argv[i]);
		fflush(stdout);
	}
	return failed != 0;
}
