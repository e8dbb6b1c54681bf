/* A PKCS#11 library that hangs when it is initialised, or is of a version that nobody knows. */

#include <stddef.h>
#include <unistd.h>

typedef unsigned long (*function)(void *);

static unsigned long hang(void *arguments) {
  (void)arguments;
  sleep(3);
  return 0;
}

static unsigned long succeed(void *arguments) {
  (void)arguments;
  return 0;
}

static struct {
  unsigned char major, minor;
  function functions[68];
} list;

unsigned long C_GetFunctionList(void **result) {
  list.major = FAKE_VERSION;
  for (size_t i = 0; i < 68; i += 1) list.functions[i] = succeed;
  list.functions[0] = hang;
  *result = &list;
  return 0;
}
