#include "work.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>

// Linux 5.14; the headers of Debian 12 know them, those of some older systems do not.
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

namespace weightgate {
namespace {

constexpr size_t kNonceBytes = 12;
// What is read at once is still in the core's own cache when it is decrypted.
constexpr size_t kSliceBytes = 512 * 1024;

struct CipherContextFree {
  // OpenSSL overwrites the key schedule here.
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
struct CipherFree {
  void operator()(EVP_CIPHER* cipher) const { EVP_CIPHER_free(cipher); }
};
struct DigestContextFree {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using CipherContext = std::unique_ptr<EVP_CIPHER_CTX, CipherContextFree>;
using Cipher = std::unique_ptr<EVP_CIPHER, CipherFree>;
using DigestContext = std::unique_ptr<EVP_MD_CTX, DigestContextFree>;

struct Job {
  size_t file;
  uint64_t chunk;
};

// Gives out each chunk once, those of one file in rising order. `width` files are open at a time and take turns: one
// for opening, as many as there are threads for sealing, where the digest of a file can only be taken in order.
class Queue {
 public:
  Queue(const std::vector<File>& files, size_t width) : files_(files), width_(width) {}

  bool Take(Job* job) {
    const std::lock_guard<std::mutex> guard(mutex_);
    while (open_.size() < width_ && next_file_ < files_.size()) open_.push_back({next_file_++, 0});
    if (open_.empty()) return false;
    *job = open_.front();
    open_.pop_front();
    if (job->chunk + 1 < files_[job->file].chunks) open_.push_back({job->file, job->chunk + 1});
    return true;
  }

 private:
  const std::vector<File>& files_;
  const size_t width_;
  std::mutex mutex_;
  std::deque<Job> open_;
  size_t next_file_ = 0;
};

// SW-7: three zero bytes, the index big-endian, whether it is the last.
void WriteNonce(uint64_t index, bool is_last, uint8_t* nonce) {
  std::fill_n(nonce, kNonceBytes, 0);
  for (size_t i = 0; i < 8; ++i) nonce[10 - i] = static_cast<uint8_t>(index >> (8 * i));
  nonce[kNonceBytes - 1] = is_last ? 1 : 0;
}

class Runner {
 public:
  explicit Runner(const Work& work)
      : work_(work),
        cipher_(EVP_CIPHER_fetch(nullptr, "AES-256-GCM", nullptr)),
        queue_(work.files, work.direction == Direction::kSeal ? work.stages.size() : 1),
        digests_(work.direction == Direction::kSeal ? work.files.size() : 0) {}

  Failure Run() {
    std::vector<std::thread> threads;
    for (size_t i = 1; i < work_.stages.size(); ++i) {
      try {
        threads.emplace_back(&Runner::RunLane, this, work_.stages[i]);
      } catch (const std::system_error&) {
        break;  // The threads that there are do the work.
      }
    }
    RunLane(work_.stages[0]);
    for (std::thread& thread : threads) thread.join();
    return failure_;
  }

 private:
  struct OrderedDigest {
    DigestContext context;
    uint64_t next_chunk = 0;
  };

  void RunLane(uint8_t* stage) {
    const CipherContext context(EVP_CIPHER_CTX_new());
    Job job;
    while (!IsStopped() && queue_.Take(&job)) {
      int error_number = 0;
      const Problem problem = DoChunk(job, context.get(), stage, &error_number);
      if (problem == Problem::kNone) continue;
      Fail({problem, job.file, job.chunk, error_number});
    }
  }

  Problem DoChunk(const Job& job, EVP_CIPHER_CTX* context, uint8_t* stage, int* error_number) {
    const File& file = work_.files[job.file];
    const uint64_t offset = job.chunk * kChunkBytes;
    const size_t length = std::min(kChunkBytes, file.bytes - offset);
    Problem problem = Start(file, job.chunk, context);
    if (problem == Problem::kNone) problem = ReadAndTransform(file, offset, length, context, stage, error_number);
    if (problem == Problem::kNone) problem = Finish(file, job.chunk, context);
    // The stage holds plaintext that nobody vouches for: it is overwritten before anything else happens.
    if (problem == Problem::kTag) OPENSSL_cleanse(stage, length);
    if (problem == Problem::kNone) problem = Place(file, offset, length, stage, error_number);
    if (problem == Problem::kNone && work_.direction == Direction::kSeal) problem = Digest(job, stage, length);
    if (problem == Problem::kNone) __atomic_add_fetch(work_.done_bytes, length, __ATOMIC_RELAXED);
    return problem;
  }

  Problem Start(const File& file, uint64_t chunk, EVP_CIPHER_CTX* context) const {
    uint8_t nonce[kNonceBytes];
    WriteNonce(chunk, chunk + 1 == file.chunks, nonce);
    const int encrypt = work_.direction == Direction::kSeal ? 1 : 0;
    const bool started = cipher_ != nullptr && context != nullptr &&
                         EVP_CipherInit_ex(context, cipher_.get(), nullptr, file.key, nonce, encrypt) == 1;
    return started ? Problem::kNone : Problem::kCipher;
  }

  Problem ReadAndTransform(const File& file, uint64_t offset, size_t length, EVP_CIPHER_CTX* context, uint8_t* stage,
                           int* error_number) const {
    for (size_t at = 0; at < length;) {
      const ssize_t count = pread(file.source, stage + at, std::min(kSliceBytes, length - at), offset + at);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) {
        *error_number = errno;
        return Problem::kRead;
      }
      if (count == 0) return Problem::kShort;
      int written = 0;
      if (EVP_CipherUpdate(context, stage + at, &written, stage + at, static_cast<int>(count)) != 1 || written != count)
        return Problem::kCipher;
      at += count;
    }
    return Problem::kNone;
  }

  Problem Finish(const File& file, uint64_t chunk, EVP_CIPHER_CTX* context) const {
    uint8_t* tag = work_.tags + (file.first_tag + chunk) * kTagBytes;
    uint8_t nothing[EVP_MAX_BLOCK_LENGTH];
    int written = 0;
    if (work_.direction == Direction::kOpen) {
      if (EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, kTagBytes, tag) != 1) return Problem::kCipher;
      return EVP_CipherFinal_ex(context, nothing, &written) == 1 ? Problem::kNone : Problem::kTag;
    }
    const bool finished = EVP_CipherFinal_ex(context, nothing, &written) == 1 &&
                          EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kTagBytes, tag) == 1;
    return finished ? Problem::kNone : Problem::kCipher;
  }

  Problem Place(const File& file, uint64_t offset, size_t length, const uint8_t* stage, int* error_number) const {
    const bool before = work_.lock_pages == LockPages::kBefore;
    if (before && !Populate(file, offset, length, MADV_POPULATE_WRITE, error_number)) return Problem::kLock;
    for (size_t at = 0; at < length;) {
      const ssize_t count = pwrite(file.target, stage + at, length - at, offset + at);
      if (count < 0 && errno == EINTR) continue;
      if (count <= 0) {
        *error_number = count < 0 ? errno : ENOSPC;
        return Problem::kWrite;
      }
      at += count;
    }
    if (!before && !Populate(file, offset, length, MADV_POPULATE_READ, error_number)) return Problem::kLock;
    return Problem::kNone;
  }

  // The mapping was locked for faults to come (MLOCK_ONFAULT): a page is locked when it comes to be in it.
  static bool Populate(const File& file, uint64_t offset, size_t length, int advice, int* error_number) {
    if (file.locked == nullptr || length == 0) return true;
    while (madvise(file.locked + offset, length, advice) != 0) {
      *error_number = errno;
      if (errno != EINTR && errno != EAGAIN) return false;
    }
    return true;
  }

  // SW-15. Waits until the chunks before this one are in the digest; whoever has them took them earlier.
  Problem Digest(const Job& job, const uint8_t* stage, size_t length) {
    OrderedDigest& digest = digests_[job.file];
    {
      std::unique_lock<std::mutex> guard(order_mutex_);
      order_.wait(guard, [&] { return digest.next_chunk == job.chunk || IsStopped(); });
      if (digest.next_chunk != job.chunk) return Problem::kNone;
    }
    const bool is_last = job.chunk + 1 == work_.files[job.file].chunks;
    const bool taken = TakeIn(&digest, job, stage, length, is_last);
    {
      const std::lock_guard<std::mutex> guard(order_mutex_);
      digest.next_chunk += 1;
    }
    order_.notify_all();
    return taken ? Problem::kNone : Problem::kCipher;
  }

  bool TakeIn(OrderedDigest* digest, const Job& job, const uint8_t* stage, size_t length, bool is_last) const {
    if (job.chunk == 0) {
      digest->context.reset(EVP_MD_CTX_new());
      if (EVP_DigestInit_ex(digest->context.get(), EVP_sha256(), nullptr) != 1) return false;
    }
    if (EVP_DigestUpdate(digest->context.get(), stage, length) != 1) return false;
    if (!is_last) return true;
    const bool done =
        EVP_DigestFinal_ex(digest->context.get(), work_.digests + job.file * kDigestBytes, nullptr) == 1;
    digest->context.reset();
    return done;
  }

  bool IsStopped() const { return __atomic_load_n(work_.stopped, __ATOMIC_RELAXED) != 0; }

  static bool IsBefore(const Failure& one, const Failure& other) {
    return one.file != other.file ? one.file < other.file : one.chunk < other.chunk;
  }

  // Of several the one that stands first: chunks are taken in rising order, so all before it were looked at.
  void Fail(const Failure& failure) {
    {
      const std::lock_guard<std::mutex> guard(order_mutex_);
      if (failure_.problem == Problem::kNone || IsBefore(failure, failure_)) failure_ = failure;
      __atomic_store_n(work_.stopped, 1, __ATOMIC_RELAXED);
    }
    order_.notify_all();
  }

  const Work& work_;
  const Cipher cipher_;
  Queue queue_;
  std::vector<OrderedDigest> digests_;
  std::mutex order_mutex_;
  std::condition_variable order_;
  Failure failure_;
};

}  // namespace

Failure Run(const Work& work) { return Runner(work).Run(); }

}  // namespace weightgate
