// Opening and sealing the chunks of files (docs/spec/sealed-weights.md sections 2 and 4) on several threads.
//
// Nothing here knows JavaScript, and nothing here judges a bundle: sizes, tags, keys and descriptors come from the
// caller, who has checked them against the signed manifest. What is decided here is whether a tag holds.

#ifndef WEIGHTGATE_NATIVE_CHUNKS_WORK_H_
#define WEIGHTGATE_NATIVE_CHUNKS_WORK_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace weightgate {

constexpr uint64_t kChunkBytes = 4 * 1024 * 1024;  // SW-6
constexpr size_t kKeyBytes = 32;
constexpr size_t kTagBytes = 16;
constexpr size_t kDigestBytes = 32;

enum class Direction { kOpen, kSeal };

struct File {
  int source = -1;
  int target = -1;
  uint64_t bytes = 0;
  uint64_t chunks = 0;
  // Place of the tag of chunk 0 in `Work::tags`.
  uint64_t first_tag = 0;
  const uint8_t* key = nullptr;
  // A mapping of the target whose pages are locked as they come to be there; null where there is nothing to lock.
  uint8_t* locked = nullptr;
};

// Where pages have to be locked: before anything is written to them on a machine that swaps, else afterwards, which
// spares the system from filling them with zeros first.
enum class LockPages { kAfter, kBefore };

struct Work {
  Direction direction = Direction::kOpen;
  LockPages lock_pages = LockPages::kAfter;
  std::vector<File> files;
  // Read when opening, written when sealing.
  uint8_t* tags = nullptr;
  // SHA-256 of the ciphertext of each file; written when sealing.
  uint8_t* digests = nullptr;
  // One buffer of kChunkBytes for each thread. The caller locks and clears them.
  std::vector<uint8_t*> stages;
  // Shared with the caller: set to anything but 0 to stop, and the count of bytes that are done.
  int32_t* stopped = nullptr;
  int64_t* done_bytes = nullptr;
};

enum class Problem { kNone, kRead, kShort, kTag, kWrite, kLock, kCipher };

struct Failure {
  Problem problem = Problem::kNone;
  size_t file = 0;
  uint64_t chunk = 0;
  // Of the system call that failed; 0 where none did.
  int error_number = 0;
};

// Runs to the end on as many threads as there are stages. No thread is left when it returns. A failure stops all
// at their next chunk; files and chunks that were not reached are left as they were. When opening, what is returned is
// the failure of the lowest chunk.
Failure Run(const Work& work);

}  // namespace weightgate

#endif  // WEIGHTGATE_NATIVE_CHUNKS_WORK_H_
