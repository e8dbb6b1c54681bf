// Encrypts or decrypts a file with libsodium's secretstream in messages of 1 MiB, as its documentation shows it.
//
// Usage: secretstream encrypt|decrypt KEY-FILE INPUT OUTPUT
// Build: cc -O2 -o secretstream secretstream.c -lsodium

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#define MESSAGE_BYTES (1024 * 1024)
#define SEALED_BYTES (MESSAGE_BYTES + crypto_secretstream_xchacha20poly1305_ABYTES)

static unsigned char message[MESSAGE_BYTES];
static unsigned char sealed[SEALED_BYTES];

static int encrypt(FILE *input, FILE *output, const unsigned char *key) {
  crypto_secretstream_xchacha20poly1305_state state;
  unsigned char header[crypto_secretstream_xchacha20poly1305_HEADERBYTES];
  crypto_secretstream_xchacha20poly1305_init_push(&state, header, key);
  if (fwrite(header, 1, sizeof header, output) != sizeof header) return 1;
  for (;;) {
    size_t length = fread(message, 1, sizeof message, input);
    if (ferror(input)) return 1;
    unsigned char tag = feof(input) ? crypto_secretstream_xchacha20poly1305_TAG_FINAL : 0;
    unsigned long long sealed_length;
    crypto_secretstream_xchacha20poly1305_push(&state, sealed, &sealed_length, message, length, NULL, 0, tag);
    if (fwrite(sealed, 1, sealed_length, output) != sealed_length) return 1;
    if (tag != 0) return 0;
  }
}

static int decrypt(FILE *input, FILE *output, const unsigned char *key) {
  crypto_secretstream_xchacha20poly1305_state state;
  unsigned char header[crypto_secretstream_xchacha20poly1305_HEADERBYTES];
  if (fread(header, 1, sizeof header, input) != sizeof header) return 1;
  if (crypto_secretstream_xchacha20poly1305_init_pull(&state, header, key) != 0) return 1;
  for (;;) {
    size_t sealed_length = fread(sealed, 1, sizeof sealed, input);
    unsigned long long length;
    unsigned char tag;
    if (crypto_secretstream_xchacha20poly1305_pull(&state, message, &length, &tag, sealed, sealed_length, NULL, 0) != 0)
      return 1;
    if (fwrite(message, 1, length, output) != length) return 1;
    if (tag == crypto_secretstream_xchacha20poly1305_TAG_FINAL) return 0;
  }
}

static int read_key(const char *path, unsigned char *key) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) return 1;
  size_t length = fread(key, 1, crypto_secretstream_xchacha20poly1305_KEYBYTES, file);
  fclose(file);
  return length != crypto_secretstream_xchacha20poly1305_KEYBYTES;
}

int main(int argc, char **argv) {
  unsigned char key[crypto_secretstream_xchacha20poly1305_KEYBYTES];
  if (argc != 5 || sodium_init() < 0 || read_key(argv[2], key) != 0) return 2;
  FILE *input = fopen(argv[3], "rb");
  FILE *output = fopen(argv[4], "wb");
  if (input == NULL || output == NULL) return 2;
  // The messages are large: another buffer between them and the files would only be another copy.
  setvbuf(input, NULL, _IONBF, 0);
  setvbuf(output, NULL, _IONBF, 0);
  int failed = strcmp(argv[1], "encrypt") == 0 ? encrypt(input, output, key) : decrypt(input, output, key);
  return fclose(output) != 0 || failed;
}
